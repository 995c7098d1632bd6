import CLinux

/// What the kernel's client receives answers with: for each connection of a device a work that never ends, `recv_work` in the work queue
/// `nbdN-recv`. Where its worker threads are made too slowly, as on a busy machine, the work queue's one rescuer thread takes several of
/// these works (Linux 6.1): only the first is ever run, and what the server answers on the other connections is never read.
struct Receivers {
  let device: String
  /// Where the kernel shows its threads; tests have their own.
  var processes = "/proc"
  var milliseconds = AttachmentLimits.receiverMilliseconds

  /// How many run now: a worker's name ends with the work queue whose work it is doing.
  var count: Int {
    let suffix = "+\(device)-recv"
    return SystemFiles.names(in: processes).lazy
      .filter { $0.first.map { ("1"..."9").contains($0) } == true }
      .filter { SystemFiles.line("\(processes)/\($0)/comm")?.hasSuffix(suffix) == true }
      .count
  }

  /// Whether each connection has its receiver, at last. True too where the kernel's threads cannot be seen.
  func areThere(for connectionCount: Int) -> Bool {
    var found = 0
    for _ in 0..<(milliseconds / AttachmentLimits.lookMilliseconds) {
      found = count
      if found >= connectionCount { return true }
      usleep(UInt32(AttachmentLimits.lookMilliseconds) * 1000)
    }
    return found == 0
  }
}
