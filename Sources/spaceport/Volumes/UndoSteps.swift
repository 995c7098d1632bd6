import Management

/// What has been done so far, and how each part is undone.
struct UndoSteps {
  private struct Step {
    /// "Virtual disk tank/data is deleted again".
    var undone: String
    /// What does the same by hand.
    var command: String
    var undo: () async throws(APIError) -> Void
  }

  private var steps: [Step] = []

  mutating func add(_ undone: String, command: String, _ undo: @escaping () async throws(APIError) -> Void) {
    steps.append(Step(undone: undone, command: command, undo: undo))
  }

  /// Undoes all of it, the last first, and goes on where one cannot be undone.
  /// - Returns: a sentence for each.
  func undo() async -> [String] {
    var said: [String] = []
    for step in steps.reversed() {
      do throws(APIError) {
        try await step.undo()
        said.append("\(step.undone).")
      } catch {
        // What is not there any more is for nobody to undo.
        said.append(error.code == .notFound ? "\(error.message)." : "Not undone: \(error.message). Do it with: \(step.command)")
      }
    }
    return said
  }
}
