import Foundation

/// A loop device, over a sparse file of its own unless one is given; detached with its last reference. Tests that need one say so by
/// `.enabled(if: LoopDevice.isAvailable, "needs loop devices")`.
public final class LoopDevice: Sendable {
  public let path: String
  /// What it is over.
  public let file: String
  private let directory: TemporaryDirectory?

  public convenience init(sector: Int, byteCount: UInt64 = 64 << 20, hasPartitions: Bool = false) throws {
    let directory = try TemporaryDirectory()
    let file = try directory.sparseFile(byteCount: byteCount)
    try self.init(over: file, sector: sector, hasPartitions: hasPartitions, directory)
  }

  /// Over a file that is there already.
  public convenience init(over file: String, sector: Int) throws { try self.init(over: file, sector: sector, hasPartitions: false, nil) }

  private init(over file: String, sector: Int, hasPartitions: Bool, _ directory: TemporaryDirectory?) throws {
    self.directory = directory
    self.file = file
    var arguments = ["losetup", "--find", "--show", "--direct-io=on", "--sector-size", "\(sector)"]
    if hasPartitions { arguments.append("--partscan") }
    var result = try Program.runBlocking(arguments + [file])
    for _ in 0..<4 where !result.succeeded {  // another process may have taken the free one first
      result = try Program.runBlocking(arguments + [file])
    }
    guard result.succeeded else { throw ProgramFailure(description: result.text) }
    path = result.output.trimmingCharacters(in: .whitespacesAndNewlines)
    // One that was attached read-only before may stay so.
    _ = try? Program.runBlocking(["blockdev", "--setrw", path])
  }

  /// Makes the device smaller at one moment, whatever is under way. Its file stays as it is: between the shrinking of a file and the moment when
  /// the loop device learns of it, reads give zeros without an error, as no disk's do.
  public func shrink(to byteCount: UInt64) throws {
    // struct loop_info64 of linux/loop.h.
    let infoByteCount = 232
    let sizeLimitOffset = 32
    let getStatus: UInt = 0x4C05
    let setStatus: UInt = 0x4C04
    let descriptor = open(path, O_RDWR | O_CLOEXEC)
    defer { close(descriptor) }
    let info = UnsafeMutableRawBufferPointer.allocate(byteCount: infoByteCount, alignment: 8)
    defer { info.deallocate() }
    var result = ioctl(descriptor, getStatus, info.baseAddress!)
    info.storeBytes(of: byteCount, toByteOffset: sizeLimitOffset, as: UInt64.self)
    if result == 0 { result = ioctl(descriptor, setStatus, info.baseAddress!) }
    guard result == 0 else { throw ProgramFailure(description: "\(path) cannot be made smaller: \(String(cString: strerror(errno)))") }
  }

  deinit { _ = try? Program.runBlocking(["losetup", "--detach", path]) }

  /// Whether this machine has loop devices for us. Where it has none the reason is printed, since a skipped test is easily overlooked.
  public static let isAvailable: Bool = {
    do {
      _ = try LoopDevice(sector: 4096, byteCount: 1 << 20)
      return true
    } catch {
      print("SKIPPED: tests on loop devices, because losetup does not work here: \(error)")
      return false
    }
  }()
}
