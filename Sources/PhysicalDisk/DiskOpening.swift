import CLinux
import Glibc
import Reactor

/// What a disk is opened for.
public enum DiskAccess: Sendable {
  /// To look at: no claim, so that a disk in use can be looked at too.
  case readOnly
  /// To read for longer: who wants to own the disk cannot meanwhile, others may read it too. Permission to write is not needed.
  case shared
  /// To own: nobody else can open it so.
  case claimed
}

/// How a range of a disk is zeroed without writing data.
enum ZeroMethod: Sendable {
  case zeroRange, punchAndAllocate, none
}

/// A disk that was opened, claimed and asked what it is.
struct OpenedDisk: Sendable {
  var descriptor: Int32
  var identity: DiskIdentity
  var facts: DiskFacts
  var zeroMethod: ZeroMethod
  /// Its size and links are known to this machine's kernel: asking never waits.
  var isStatusLocal = true
}

/// Opens and claims disks. Blocking: for BlockingCalls.
enum DiskOpening {
  /// One try, without waiting for who holds the disk.
  static func attempt(path: String, access: DiskAccess) -> Result<OpenedDisk, DiskOpenError> {
    do throws(DiskOpenError) {
      let descriptor = try openClaimed(path: path, access: access)
      do throws(DiskOpenError) { return .success(try DiskProbe.examine(descriptor, path: path, access: access)) } catch {
        close(descriptor)
        throw error
      }
    } catch {
      return .failure(error)
    }
  }

  private static func openClaimed(path: String, access: DiskAccess) throws(DiskOpenError) -> Int32 {
    var status = stat()
    // Before opening: opening a FIFO waits, opening a tape moves it.
    guard stat(path, &status) == 0 else { throw .system(path, errno, doing: "looking it up") }
    guard let identity = DiskIdentity(status) else {
      throw DiskOpenError(.notADisk, path, "\(path) is neither a regular file nor a block device. Name one of these.")
    }
    var flags = O_CLOEXEC | CLINUX_O_DIRECT | (access == .claimed ? O_RDWR : O_RDONLY)
    if case .blockDevice = identity, access == .claimed { flags |= O_EXCL }
    var descriptor = clinux_open(path, flags, 0)
    if descriptor < 0 && errno == EINVAL { descriptor = clinux_open(path, flags & ~CLINUX_O_DIRECT, 0) }  // the file system has no O_DIRECT
    guard descriptor >= 0 else {
      let number = errno
      if number == EBUSY, case .blockDevice(let device) = identity { throw explainBusy(path, device) }
      if number == ETXTBSY {
        throw DiskOpenError(.claimed, path, errorNumber: number, "\(path) is in use: swapped to, or a program that runs.")
      }
      throw .system(path, number, doing: "opening it")
    }
    let lock = access == .claimed ? LOCK_EX : LOCK_SH
    if access != .readOnly, flock(descriptor, lock | LOCK_NB) != 0 {
      let error =
        errno == EWOULDBLOCK ? locked(path, by: ClaimHolder.lockHolder(of: descriptor)) : .system(path, errno, doing: "locking it")
      close(descriptor)
      throw error
    }
    return descriptor
  }

  static func locked(_ path: String, by holder: String?) -> DiskOpenError {
    DiskOpenError(
      .locked, path, errorNumber: EWOULDBLOCK, mayPass: true,
      "\(path) is in use by another server (locked\(holder.map { " " + $0 } ?? "")). Stop that server, or choose another disk.")
  }

  /// The kernel refuses the exclusive open: another server's, or its own use of the device.
  private static func explainBusy(_ path: String, _ device: UInt64) -> DiskOpenError {
    if let use = ClaimHolder.kernelUse(of: device) {
      return DiskOpenError(
        .claimed, path, errorNumber: EBUSY,
        "\(path) is mounted or claimed by the kernel: it is \(use). Unmount or release it, or choose another disk.")
    }
    let descriptor = clinux_open(path, O_RDONLY | O_CLOEXEC, 0)
    if descriptor >= 0 {
      defer { close(descriptor) }
      if flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK {
        return locked(path, by: ClaimHolder.lockHolder(of: descriptor))
      }
    }
    return DiskOpenError(
      .claimed, path, errorNumber: EBUSY, mayPass: true,
      "\(path) is mounted or claimed by the kernel (or a program has it opened exclusively). Release it, or choose another disk.")
  }
}
