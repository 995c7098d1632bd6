import CLinux
import Glibc
import PhysicalDisk
import Reactor
import TestSupport
import Testing

/// Nobody else has a disk that is open.
@Suite struct ClaimTests {
  private func openError(_ test: TestReactor, _ path: String) async -> DiskOpenError? {
    do {
      let port = try await test.open(path)
      await test.reactor.run { await port.close() }
      return nil
    } catch { return error as? DiskOpenError }
  }

  @Test func aSecondOpenInTheSameProcessIsRefusedUntilTheFirstIsClosed() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.sparseFile(byteCount: 1 << 20)
    try #require(link(path, directory.path + "/hard") == 0)
    try #require(symlink(path, directory.path + "/symbolic") == 0)
    let test = try TestReactor()
    let port = try await test.open(path)
    for name in [path, directory.path + "/hard", directory.path + "/symbolic"] {
      #expect(DiskIdentity.of(path: name) == port.identity)
      let error = await openError(test, name)
      #expect(error?.cause == .locked)
      #expect(error?.description.contains("in use by another server (locked by this server itself)") == true)
    }
    await test.reactor.run { await port.close() }
    #expect(await openError(test, path) == nil)
    #expect(DiskIdentity.of(path: try directory.sparseFile("other", byteCount: 512)) != port.identity)
  }

  @Test func aLockOfAnotherProcessIsNamedAndWaitedFor() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.sparseFile(byteCount: 1 << 20)
    let test = try TestReactor()
    let holder = try LockHolder(path: path)
    let error = await openError(test, path)
    #expect(error?.cause == .locked)
    #expect(error?.description.contains("locked by process \(holder.processID)") == true)
    async let patient = test.open(path, waitMilliseconds: 30_000)
    holder.release()
    let port = try await patient
    #expect(try run("flock", "--nonblock", path, "true").status == 1, "now it is we who hold it")
    await test.reactor.run { await port.close() }
    #expect(try run("flock", "--nonblock", path, "true").status == 0)
  }

  /// Who reads needs no permission to write, shares the disk with others who read, and keeps those out who want to own it.
  @Test func readersShareADiskThatNobodyMayOwnMeanwhile() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.sparseFile(byteCount: 1 << 20)
    let test = try TestReactor()
    let owner = try await test.open(path)
    await #expect(throws: DiskOpenError.self) { try await test.open(path, access: .shared) }
    await test.reactor.run { await owner.close() }

    try #require(chmod(path, 0o400) == 0)
    let first = try await test.open(path, access: .shared)
    let second = try await test.open(path, access: .shared)
    #expect(first.facts.isReadOnly && first.facts.discardGranularity == 0 && !first.facts.zeroesCheaply)
    #expect(await openError(test, path)?.cause == .locked)
    await test.reactor.run {
      await first.close()
      await second.close()
    }
    #expect(await openError(test, path) == nil)
  }

  @Test(.enabled(if: LoopDevice.isAvailable, "needs loop devices"))
  func aReadOnlyDeviceCanBeReadAndNotOwned() async throws {
    let loop = try LoopDevice(sector: 512)
    try #require(try run("blockdev", "--setro", loop.path).status == 0)
    defer { _ = try? run("blockdev", "--setrw", loop.path) }  // it stays with the device's number
    let test = try TestReactor()
    #expect(await openError(test, loop.path)?.description.contains("--read-only") == true)
    let port = try await test.open(loop.path, access: .shared)
    #expect(port.facts.isReadOnly)
    await test.reactor.run { await port.close() }
  }

  @Test func waitingEndsAfterItsTime() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.sparseFile(byteCount: 1 << 20)
    let test = try TestReactor()
    let holder = try LockHolder(path: path)
    await #expect(throws: DiskOpenError.self) { try await test.open(path, waitMilliseconds: 120) }
    holder.release()
  }

  @Test(.enabled(if: LoopDevice.isAvailable, "needs loop devices"), .timeLimit(.minutes(10)))
  func aMountedDeviceIsRefusedAndItsMountPointNamed() async throws {
    let loop = try LoopDevice(sector: 512)
    let directory = try TemporaryDirectory()
    try #require(try run("mkfs.ext4", "-q", loop.path).status == 0)
    let mounted = try run("mount", loop.path, directory.path)
    try #require(mounted.status == 0, "\(mounted.text)")
    let test = try TestReactor()
    // Even with an hour to wait: a mounted device is refused at once, else the test's time limit ends it.
    await #expect(throws: DiskOpenError.self) { try await test.open(loop.path, waitMilliseconds: 3_600_000) }
    let error = await openError(test, loop.path)
    #expect(error?.cause == .claimed)
    #expect(error?.description.contains("mounted on \(directory.path)") == true)
    try #require(try run("umount", directory.path).status == 0)
    #expect(await openError(test, loop.path) == nil)
  }

  @Test(.enabled(if: LoopDevice.isAvailable, "needs loop devices"))
  func aClaimedDeviceCanNeitherBeOpenedTwiceNorMounted() async throws {
    let loop = try LoopDevice(sector: 512)
    try #require(try run("mkfs.ext4", "-q", loop.path).status == 0)
    let directory = try TemporaryDirectory()
    let test = try TestReactor()
    let port = try await test.open(loop.path)
    let error = await openError(test, loop.path)
    #expect(error?.cause == .locked)
    #expect(error?.description.contains("locked by this server itself") == true)
    #expect(try run("mount", loop.path, directory.path).status != 0)
    await test.reactor.run { await port.close() }
  }

  @Test func whatIsNoDiskIsRefusedInWords() async throws {
    let directory = try TemporaryDirectory()
    let test = try TestReactor()
    #expect(await openError(test, directory.path)?.cause == .notADisk)
    #expect(await openError(test, "/dev/null")?.cause == .notADisk)
    let fifo = directory.path + "/fifo"
    try #require(mkfifo(fifo, 0o600) == 0)
    #expect(await openError(test, fifo)?.cause == .notADisk)
    let missing = await openError(test, directory.path + "/missing")
    #expect(missing?.cause == .notFound)
    #expect(missing?.description.contains("there is no such file or device") == true)
    #expect(await openError(test, try directory.sparseFile("empty", byteCount: 0))?.cause == .empty)
    #expect(await openError(test, try directory.sparseFile("tiny", byteCount: 100))?.cause == .empty)
  }

  @Test func blockingCallsRunOffTheReactorInOrderAndResumeOnIt() async throws {
    let test = try TestReactor()
    let reactor = test.reactor
    let (results, stayed) = await reactor.run { () async -> ([Int], Bool) in
      var results: [Int] = []
      var stayed = true
      for number in 0..<100 {
        results.append(await test.blocking.perform { reactor.isCurrent ? -1 : number })
        stayed = stayed && reactor.isCurrent
      }
      return (results, stayed)
    }
    #expect(results == Array(0..<100))
    #expect(stayed)
  }
}
