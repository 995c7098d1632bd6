import BlockDevice
import Management

/// The running stack as a tree of figures: walked from the device that is asked about down to the physical disks.
enum StackTree {
  /// Of a virtual disk: its open partitions, without the layers that they have in common, then the whole disk.
  static func nodes(_ served: ServedVirtualDisk) -> [StackNode] {
    let partitions = served.volume.partitions.open.sorted { $0.partition.number < $1.partition.number }.map { volume in
      var node = node(volume)
      node.children = []
      return node
    }
    return partitions + [node(served.volume)]
  }

  static func node(_ device: BlockDevice) -> StackNode {
    let statistics = device.statistics
    return StackNode(
      layer: device.layerName, label: device.label, remarks: device.remarks, read: counters(statistics[.read]),
      write: counters(statistics[.write]), flush: counters(statistics[.flush]), discard: counters(statistics[.discard]),
      writeZeroes: counters(statistics[.writeZeroes]), children: device.lowerDevices.map(node))
  }

  private static func counters(_ statistics: OperationStatistics) -> OperationCounters {
    OperationCounters(
      requests: statistics.requests, bytes: statistics.bytes, errors: statistics.errors, inFlight: UInt64(max(0, statistics.inFlight)),
      latency: LatencySummary(
        meanNanoseconds: statistics.meanNanoseconds, p50Nanoseconds: statistics.latencyNanoseconds(atPercentile: 50),
        p90Nanoseconds: statistics.latencyNanoseconds(atPercentile: 90), p99Nanoseconds: statistics.latencyNanoseconds(atPercentile: 99),
        p999Nanoseconds: statistics.latencyNanoseconds(atPercentile: 99.9), maxNanoseconds: statistics.latencyNanoseconds(atPercentile: 100)
      ))
  }
}
