import Foundation
import TestSupport
import Testing

@testable import Service

/// Memory limits of control groups, as their files tell them.
@Suite struct MachineMemoryTests {
  /// Limits by path; the groups of the process as in /proc/self/cgroup.
  private func limit(_ groups: String, _ limits: [String: String]) throws -> UInt64? {
    let directory = try TemporaryDirectory()
    for (path, text) in limits {
      let file = URL(fileURLWithPath: "\(directory.path)/\(path)")
      try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Data(text.utf8).write(to: file)
    }
    let list = "\(directory.path)/groups"
    try Data(groups.utf8).write(to: URL(fileURLWithPath: list))
    return MachineMemory(groupsDirectory: directory.path, groupsOfProcess: list).groupLimit
  }

  @Test func theSmallestLimitOnTheWayCounts() throws {
    let limits = ["a/memory.max": "1073741824\n", "a/b/memory.max": "max\n"]
    #expect(try limit("0::/a/b\n", limits) == 1 << 30)
    #expect(try limit("0::/a/b\n", limits.merging(["a/b/memory.max": "4096\n"]) { $1 }) == 4096)
    #expect(try limit("0::/c\n", limits) == nil)
    #expect(try limit("0::/\n", [:]) == nil)
  }

  @Test func theFirstVersionOfControlGroupsIsKnown() throws {
    let limits = ["memory/x/memory.limit_in_bytes": "8589934592\n", "x/memory.max": "1\n"]
    #expect(try limit("4:cpuset:/x\n3:memory,hugetlb:/x/y\n0::/\n", limits) == 8 << 30)
  }

  @Test func whatIsNoGroupHasNoLimit() throws {
    for text in ["", "0::", ":::\n", "nonsense\n0:/a\n", "0::/../../a\n"] { #expect(try limit(text, [:]) == nil, "\(text)") }
    #expect(MachineMemory().byteCount > 1 << 20)
  }
}
