import CLinux
import Management

/// One at a time attaches and detaches: two that found an export unattached would give it two devices, and both might be mounted.
struct AttachmentLock {
  private static let path = "/run/spaceport-attach.lock"
  private let descriptor: Int32

  /// Waits, without a limit, for who has it: each step of his has one, but for what the kernel takes to write back what it holds for a device.
  init() throws(APIError) {
    let file = clinux_open(Self.path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    var error = file < 0 ? clinux_errno() : 0
    while error == 0 && flock(file, LOCK_EX) != 0 {
      let number = clinux_errno()
      if number != EINTR { error = number }
    }
    guard error == 0 else {
      if file >= 0 { close(file) }
      throw Self.failure(error)
    }
    descriptor = file
  }

  func release() { close(descriptor) }

  private static func failure(_ number: Int32) -> APIError {
    let reason = "\(path): \(String(cString: strerror(number)))"
    return number == EACCES || number == EPERM
      ? APIError(.permissionDenied, "Attaching and detaching block devices is root's: \(reason)", remedy: "Run the command as root")
      : APIError(.ioError, "There is no lock for attaching and detaching: \(reason)", remedy: "See that /run can be written to")
  }
}
