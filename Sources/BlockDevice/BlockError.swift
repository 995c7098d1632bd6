import CLinux

/// Why a request failed. A plain value: throwing it allocates nothing.
public struct BlockError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Cause: UInt8, Sendable {
    /// The disk, or the kernel below it, answered with an error.
    case ioFailed
    /// No slab, or no room in the file system below: ENOSPC.
    case noSpace
    /// Beyond the end of the device.
    case outOfRange
    /// Not aligned to what the device can address.
    case misaligned
    /// The device takes no writes.
    case readOnly
    /// The device does not do that at all.
    case unsupported
    /// The device is being closed.
    case shuttingDown
    /// What was read is not what was written (a checksum, a magic number).
    case corrupt
    /// No memory for the request.
    case noMemory
    /// The disk did not answer in time and was given up (`BlockDevice.abandon`). The system may still be reading from or writing to the
    /// request's buffer: who made the request lets go of it and takes another.
    case stalled
  }

  public let cause: Cause
  /// What the system said, as a positive errno; 0 when it was not asked.
  public let errorNumber: Int32

  public init(_ cause: Cause, errorNumber: Int32 = 0) {
    self.cause = cause
    self.errorNumber = errorNumber
  }

  /// From a negative result of the kernel. Everything that means "full" is `noSpace`.
  public init(kernelResult: Int32) {
    let number = -kernelResult
    switch number {
    case ENOSPC, EDQUOT, EFBIG: self.init(.noSpace, errorNumber: number)
    case EOPNOTSUPP, ENOSYS, ENOTTY: self.init(.unsupported, errorNumber: number)
    case ENOMEM: self.init(.noMemory, errorNumber: number)
    default: self.init(.ioFailed, errorNumber: number)
    }
  }

  /// The system says that there is no such device any more.
  public var saysDeviceIsGone: Bool {
    switch errorNumber {
    case ENODEV, ENXIO, ENOMEDIUM, ESHUTDOWN, EBADF: true
    default: false
    }
  }

  public var description: String {
    let words =
      switch cause {
      case .ioFailed: "the disk failed the request"
      case .noSpace: "no space is left"
      case .outOfRange: "the request reaches beyond the end"
      case .misaligned: "the request is not aligned to the device's blocks"
      case .readOnly: "the device is read-only"
      case .unsupported: "the device does not support this"
      case .shuttingDown: "the device is being closed"
      case .corrupt: "the data on the device is damaged"
      case .noMemory: "there is no memory for the request"
      case .stalled: "the disk did not answer in time"
      }
    return errorNumber == 0 ? words : "\(words) (\(String(cString: strerror(errorNumber))))"
  }
}
