import CLinux

/// Finds out who holds a disk that could not be claimed, for the error message only. Blocking: for BlockingCalls.
enum ClaimHolder {
  /// The process that holds a flock on the inode of `descriptor`, as /proc/locks tells; nil when it does not.
  static func lockHolder(of descriptor: Int32) -> String? {
    var status = stat()
    guard fstat(descriptor, &status) == 0, let locks = SystemText.read("/proc/locks") else { return nil }
    for line in locks.split(separator: "\n") {
      // 1: FLOCK  ADVISORY  WRITE 1234 fd:00:131 0 EOF
      let fields = line.split(separator: " ")
      guard fields.count >= 6, fields[1] == "FLOCK", let process = Int32(fields[4]), process > 0 else { continue }
      let inode = fields[5].split(separator: ":")
      guard inode.count == 3, UInt32(inode[0], radix: 16) == gnu_dev_major(status.st_dev),
        UInt32(inode[1], radix: 16) == gnu_dev_minor(status.st_dev), UInt64(inode[2]) == UInt64(status.st_ino)
      else { continue }
      if process == getpid() { return "by this server itself" }
      guard let name = SystemText.line("/proc/\(process)/comm") else {
        return "by process \(process), which has ended but has writes in flight"
      }
      return "by process \(process), \(name)"
    }
    return nil
  }

  /// What the kernel uses the block device `number` or a partition of it for; nil when nothing shows.
  static func kernelUse(of number: UInt64) -> String? {
    let device = SystemBlockDevice(number: number)
    let numbers = [deviceText(number)] + device.partitionNumbers
    if let mountPoint = mountPoint(ofAny: numbers) { return "mounted on \(mountPoint)" }
    if isSwap(numbers) { return "used as swap" }
    for name in numbers {
      if let holder = SystemText.names(in: "/sys/dev/block/\(name)/holders")?.first { return "part of \(holder)" }
    }
    return nil
  }

  private static func mountPoint(ofAny numbers: [String]) -> String? {
    for line in (SystemText.read("/proc/self/mountinfo") ?? "").split(separator: "\n") {
      // 36 35 98:0 /root /mnt2 rw,noatime master:1 - ext3 /dev/root rw; btrfs shows a number of its own and the device as source
      let fields = line.split(separator: " ")
      guard fields.count >= 5 else { continue }
      if numbers.contains(String(fields[2])) { return String(fields[4]) }
      guard let dash = fields.firstIndex(of: "-"), dash + 2 < fields.count, fields[dash + 2].hasPrefix("/dev/") else { continue }
      if case .blockDevice(let source) = DiskIdentity.of(path: String(fields[dash + 2])),
        numbers.contains(deviceText(source))
      {
        return String(fields[4])
      }
    }
    return nil
  }

  private static func isSwap(_ numbers: [String]) -> Bool {
    for line in (SystemText.read("/proc/swaps") ?? "").split(separator: "\n").dropFirst() {
      guard let path = line.split(separator: " ").first else { continue }
      if case .blockDevice(let source) = DiskIdentity.of(path: String(path)),
        numbers.contains(deviceText(source))
      {
        return true
      }
    }
    return false
  }
}
