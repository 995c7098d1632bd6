/// One layer of the running storage stack, with the layers below it. Every layer counts in the same way, so the place where requests
/// become slow or fail is the one whose figures differ from its children's.
public struct StackNode: Codable, Sendable, Equatable {
  /// The layer's name: Partition, Volume, VirtualDisk, Resiliency, Pool, StorageBus, PhysicalDisk.
  public var layer: String
  /// Which one it is: an export's name, a disk's path.
  public var label: String
  /// Facts about it worth a word: `thin`, `3 columns`, `direct I/O`.
  public var remarks: [String]
  public var read: OperationCounters
  public var write: OperationCounters
  public var flush: OperationCounters
  public var discard: OperationCounters
  public var writeZeroes: OperationCounters
  /// The layers that this one passes its requests to.
  public var children: [StackNode]

  public init(
    layer: String, label: String, remarks: [String] = [], read: OperationCounters = OperationCounters(),
    write: OperationCounters = OperationCounters(),
    flush: OperationCounters = OperationCounters(), discard: OperationCounters = OperationCounters(),
    writeZeroes: OperationCounters = OperationCounters(), children: [StackNode] = []
  ) {
    self.layer = layer
    self.label = label
    self.remarks = remarks
    self.read = read
    self.write = write
    self.flush = flush
    self.discard = discard
    self.writeZeroes = writeZeroes
    self.children = children
  }
}

/// What a layer has counted of one kind of request since it was opened.
public struct OperationCounters: Codable, Sendable, Equatable {
  /// Requests that have ended, well or not.
  public var requests: UInt64
  /// Bytes of the requests that ended well.
  public var bytes: UInt64
  /// Requests that ended with an error.
  public var errors: UInt64
  /// Requests that have begun and not ended.
  public var inFlight: UInt64
  /// From a request's arrival at the layer to its answer.
  public var latency: LatencySummary

  public init(
    requests: UInt64 = 0, bytes: UInt64 = 0, errors: UInt64 = 0, inFlight: UInt64 = 0, latency: LatencySummary = LatencySummary()
  ) {
    self.requests = requests
    self.bytes = bytes
    self.errors = errors
    self.inFlight = inFlight
    self.latency = latency
  }
}

/// A distribution of latencies, in nanoseconds; all zero when there were no requests.
public struct LatencySummary: Codable, Sendable, Equatable {
  public var meanNanoseconds: UInt64
  public var p50Nanoseconds: UInt64
  public var p90Nanoseconds: UInt64
  public var p99Nanoseconds: UInt64
  public var p999Nanoseconds: UInt64
  public var maxNanoseconds: UInt64

  public init(
    meanNanoseconds: UInt64 = 0, p50Nanoseconds: UInt64 = 0, p90Nanoseconds: UInt64 = 0, p99Nanoseconds: UInt64 = 0,
    p999Nanoseconds: UInt64 = 0, maxNanoseconds: UInt64 = 0
  ) {
    self.meanNanoseconds = meanNanoseconds
    self.p50Nanoseconds = p50Nanoseconds
    self.p90Nanoseconds = p90Nanoseconds
    self.p99Nanoseconds = p99Nanoseconds
    self.p999Nanoseconds = p999Nanoseconds
    self.maxNanoseconds = maxNanoseconds
  }
}
