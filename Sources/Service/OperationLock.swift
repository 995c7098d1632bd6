import Reactor

/// Lets one management operation at a time change the set of pools and virtual disks. Only operations wait here, never I/O.
struct OperationLock {
  private var isHeld = false
  private var waiting = WaitQueue()

  mutating func tryAcquire() -> Bool {
    if isHeld { return false }
    isHeld = true
    return true
  }

  mutating func enqueue(_ continuation: UnsafeContinuation<Void, Never>) { waiting.append(continuation) }

  mutating func release() {
    isHeld = false
    waiting.wakeFirst()
  }
}
