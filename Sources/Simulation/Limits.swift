import Reactor

/// Limits of the simulator.
public enum SimulationLimits {
  /// Jobs one call to run may take before it is called a livelock: far above any test (a write through the stack takes some tens).
  public static let steps: UInt64 = 10_000_000
  /// Lines of the trace that are kept for the report of a failure.
  public static let traceLines = 4_000
  /// Lines of the trace that a failure prints: what fits a terminal's scrollback beside other output.
  public static let printedTraceLines = 60
  /// Virtual seconds that the tasks of a machine without power have to unwind: longer than any retry or time limit of the stack.
  public static let unwindSeconds: UInt64 = 600
  /// Virtual seconds that tasks which outlive the workload have after a power cut. What still waits then is abandoned.
  public static let graceSeconds: UInt64 = 5
  /// Bytes of a page of a simulated disk's content; a multiple of every atomic unit.
  public static let pageByteCount = 4096
  /// Payload buffers of a simulated reactor: few, so that running out of them is simulated too.
  public static let buffers = BufferLimits(
    smallCount: 32, smallByteCount: 32 << 10, largestByteCount: 32 << 20, largeTotalByteCount: 64 << 20)
}
