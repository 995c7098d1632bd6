import BlockDevice
import Reactor

/// A place for one request of a connection, from its header to the sending of its reply. Made when the connection first needs it and used
/// again and again, with the one task that works for it.
final class RequestSlot: @unchecked Sendable {  // reactor-confined
  var header = RequestHeader(flags: [], type: 0, cookie: 0, offset: 0, length: 0)
  var command = Command.flush
  var error = ReplyError.none
  /// The payload of a WRITE, or of a READ once it is there.
  var payload: BufferSlice?
  /// What the request counts against the connection's limit. Bytes.
  var chargedByteCount = 0

  /// Between the receiver's handing over and the task's end of the work.
  var hasWork = false
  var hasTask = false
  /// The task, while it has nothing to do.
  var idleTask: UnsafeContinuation<Void, Never>?
}
