import Reactor

/// On whose behalf an I/O is done: what the storage bus schedules by.
public enum IOClass: UInt8, Sendable, CaseIterable {
  case application, metadata, repair, resync, rebalance, scrub
}

/// What a writer promises or a reader expects of the cache.
public enum CacheHint: UInt8, Sendable {
  case normal, bypass, willNeed
}

/// An open virtual disk, as requests name it: a small number, unique in the process; 0 for the pool's own I/O.
public struct VirtualDiskHandle: Hashable, Sendable {
  public let number: UInt32
  public init(number: UInt32) { self.number = number }
  public static let pool = VirtualDiskHandle(number: 0)
}

/// The random number that the pool's present owner committed when it opened the pool.
public struct OwnerTerm: Hashable, Sendable {
  public let value: UInt64
  public init(_ value: UInt64) { self.value = value }
}

public struct IOFlags: OptionSet, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  /// The write (trim, zeroing) and what is needed to find it again are on stable storage when it is answered: FUA.
  public static let forceUnitAccess = IOFlags(rawValue: 1)
  /// Zeroing must leave the space allocated: a later write there cannot run out of space.
  public static let keepAllocated = IOFlags(rawValue: 2)
  /// Zeroing that would have to write or copy data fails with `.unsupported` instead, before anything was changed.
  public static let onlyFast = IOFlags(rawValue: 4)
}

/// Who waits for an answer. What takes long by looking through much (trims, zeroings) ends early once nobody does.
public final class Requester: @unchecked Sendable {  // reactor-confined
  public var isGone = false
  public init() {}
}

/// What every request carries down the stack beside its address and bytes.
public struct IORequest: Sendable {
  public var virtualDisk: VirtualDiskHandle
  public var ioClass: IOClass
  public var flags: IOFlags
  public var cacheHint: CacheHint
  public var ownerTerm: OwnerTerm
  public var deadline: Instant
  /// nil where nobody can leave. Unowned, so that copies cost nothing: it outlives the requests it has in flight.
  public unowned(unsafe) var requester: Requester?

  public init(
    virtualDisk: VirtualDiskHandle = .pool, ioClass: IOClass = .application, flags: IOFlags = [], cacheHint: CacheHint = .normal,
    ownerTerm: OwnerTerm = OwnerTerm(0), deadline: Instant = .distantFuture
  ) {
    self.virtualDisk = virtualDisk
    self.ioClass = ioClass
    self.flags = flags
    self.cacheHint = cacheHint
    self.ownerTerm = ownerTerm
    self.deadline = deadline
  }

  /// The same request with another hint.
  public func with(cacheHint: CacheHint) -> IORequest {
    var copy = self
    copy.cacheHint = cacheHint
    return copy
  }

  public var isForceUnitAccess: Bool { flags.contains(.forceUnitAccess) }

  /// The same request with other flags.
  public func with(flags: IOFlags) -> IORequest {
    var copy = self
    copy.flags = flags
    return copy
  }
}

/// Says which flush of a device it was: flushes of one device are numbered from 1 on, and a later one covers an earlier one.
public struct FlushToken: Comparable, Hashable, Sendable {
  public let number: UInt64
  public init(number: UInt64) { self.number = number }
  public static func < (left: FlushToken, right: FlushToken) -> Bool { left.number < right.number }
}
