import CLinux

/// Why a reactor could not start, in words an operator can act on.
public struct ReactorStartError: Error, CustomStringConvertible, Sendable {
  public let errorNumber: Int32
  public let description: String

  /// What io_uring_setup(2) meant with its refusal. `sysctl` is the content of /proc/sys/kernel/io_uring_disabled, nil where the kernel has none.
  static func refused(_ errorNumber: Int32, sysctl: String?, lockLimitBytes: UInt64) -> ReactorStartError {
    let cause: String
    switch errorNumber {
    case EPERM where sysctl == "2" || sysctl == "1":
      cause =
        "it is switched off by kernel.io_uring_disabled=\(sysctl ?? ""). Allow it with `sysctl kernel.io_uring_disabled=0`"
        + (sysctl == "1" ? ", or put this user in the group kernel.io_uring_group" : "")
    case EPERM, EACCES:
      cause =
        "a security policy forbids it. In a container, allow io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile"
    case ENOSYS:
      cause =
        "this kernel has no io_uring, or a seccomp profile hides it. Linux 6.1 or newer is needed; in a container allow io_uring_setup, io_uring_enter and io_uring_register"
    case ENOMEM:
      cause = "the limit on locked memory is \(lockLimitBytes) bytes. Raise it: `ulimit -l`, or LimitMEMLOCK= in the systemd unit"
    case EMFILE, ENFILE:
      cause = "too many open files. Raise the limit: `ulimit -n`, or LimitNOFILE= in the systemd unit"
    case EINVAL:
      cause = "this kernel is too old for the ring's options. Linux 6.1 or newer is needed"
    default:
      cause = "the kernel answered: \(String(cString: strerror(errorNumber)))"
    }
    return ReactorStartError(errorNumber: errorNumber, description: "The kernel refuses io_uring: \(cause).")
  }
}

/// Results of I/O that are none of the system's.
public enum IOResult {
  /// The waiter was sent away by `abandon` and the operation may yet happen. Below every -errno (they end at -4095).
  public static let abandoned: Int32 = -4096
}

/// Creates the ring on the calling thread, which must be the one that uses it.
func makeRing() -> Result<OpaquePointer, ReactorStartError> {
  var error: Int32 = 0
  if let ring = clinux_ring_create(RingLimits.submissionEntries, RingLimits.completionEntries, RingLimits.registeredFiles, &error) {
    return .success(ring)
  }
  var limit = rlimit()
  getrlimit(CLINUX_RLIMIT_MEMLOCK, &limit)
  return .failure(.refused(error, sysctl: readIoUringSysctl(), lockLimitBytes: UInt64(limit.rlim_cur)))
}

private func readIoUringSysctl() -> String? {
  let descriptor = clinux_open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC, 0)
  guard descriptor >= 0 else { return nil }
  defer { close(descriptor) }
  var digit: UInt8 = 0
  return read(descriptor, &digit, 1) == 1 ? String(UnicodeScalar(digit)) : nil
}
