import CLinux

/// Who has a block device open.
enum DeviceUsers {
  /// Other processes than this one that have it, or a partition of it, open.
  /// - Parameter processes: /proc, or what stands for it.
  static func processes(of device: NBDDevice, in processes: String = "/proc") -> [Int] {
    let numbers = Set(device.nodes.map(\.deviceNumber).filter { !$0.isEmpty })
    return SystemFiles.names(in: processes).compactMap { Int($0) }.filter { process in
      guard process != Int(getpid()) else { return false }
      let directory = "\(processes)/\(process)/fd"
      return SystemFiles.names(in: directory).contains { isOpen("\(directory)/\($0)", numbers) }
    }.sorted()
  }

  private static func isOpen(_ link: String, _ numbers: Set<String>) -> Bool {
    // By its name first: to ask for the state of any other file may mean to wait for a file server.
    guard let target = SystemFiles.target(of: link), target.hasPrefix("/dev/") else { return false }
    var status = stat()
    guard stat(link, &status) == 0, status.st_mode & mode_t(S_IFMT) == mode_t(S_IFBLK) else { return false }
    return numbers.contains("\(gnu_dev_major(status.st_rdev)):\(gnu_dev_minor(status.st_rdev))")
  }
}
