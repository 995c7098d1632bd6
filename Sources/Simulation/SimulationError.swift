import Reactor

/// Why a simulated run could not go on, or must not be believed.
public struct SimulationError: Error, CustomStringConvertible, Sendable {
  public enum Cause: String, Sendable {
    /// Nothing is ready, nothing sleeps, and what was run is not finished.
    case deadlock
    /// More jobs than the limit: a loop that makes no progress.
    case stepLimit
    /// More virtual time than was allowed.
    case timeLimit
    /// A task of the simulator was resumed or started by another thread: the run is not reproducible.
    case foreignJob
    /// The layers broke a rule of the border they stand on: misaligned, out of range, a buffer changed in flight.
    case violation
  }

  public let cause: Cause
  public let description: String

  public init(_ cause: Cause, _ description: String) {
    self.cause = cause
    self.description = "simulation: \(cause.rawValue): \(description)"
  }
}
