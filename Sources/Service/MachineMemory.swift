import CLinux

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// How much memory this process may have: the machine's, or what its control group (a container, a unit with MemoryMax=) leaves of it.
public struct MachineMemory {
  /// Where the control groups' files lie; another place for tests.
  var groupsDirectory = "/sys/fs/cgroup"
  /// The process's groups: proc(5), /proc/PID/cgroup.
  var groupsOfProcess = "/proc/self/cgroup"

  public init() {}

  init(groupsDirectory: String, groupsOfProcess: String) {
    self.groupsDirectory = groupsDirectory
    self.groupsOfProcess = groupsOfProcess
  }

  /// Bytes.
  public var byteCount: UInt64 {
    let all = UInt64(max(0, sysconf(Int32(_SC_PHYS_PAGES)))) * UInt64(max(0, sysconf(Int32(_SC_PAGESIZE))))
    return min(all, groupLimit ?? .max)
  }

  /// The smallest limit of the process's group and those it lies in, in bytes; nil without one, or where it cannot be read.
  var groupLimit: UInt64? {
    guard let groups = text(groupsOfProcess) else { return nil }
    return groups.split(separator: "\n").compactMap { limit(of: $0) }.min()
  }

  /// Of a line "0::/path" (version 2 of control groups) or "4:memory:/path" (version 1).
  private func limit(of line: Substring) -> UInt64? {
    let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
    guard fields.count == 3 else { return nil }
    let isSecondVersion = fields[0] == "0" && fields[1].isEmpty
    guard isSecondVersion || fields[1].split(separator: ",").contains("memory") else { return nil }
    let (top, file) = isSecondVersion ? (groupsDirectory, "memory.max") : ("\(groupsDirectory)/memory", "memory.limit_in_bytes")
    var path = top
    var limits = [number("\(path)/\(file)")]
    for name in fields[2].split(separator: "/") where name != ".." {
      path += "/\(name)"
      limits.append(number("\(path)/\(file)"))
    }
    return limits.compactMap { $0 }.min()
  }

  /// nil for "max", and for a group that cannot be seen from inside a container.
  private func number(_ path: String) -> UInt64? { text(path).flatMap { UInt64($0.prefix { $0 != "\n" }) } }

  private func text(_ path: String) -> String? { try? String(contentsOfFile: path, encoding: .utf8) }
}
