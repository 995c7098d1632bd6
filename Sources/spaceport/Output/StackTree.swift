import Management

/// The running stack as a tree, with each layer's figures in aligned columns.
struct StackTree {
  /// The width that the whole fits into unless a tree is very deep, in characters.
  static let width = 120
  /// The least that a layer's name is cut to, in characters.
  private static let leastLabelWidth = 24

  let roots: [StackNode]

  var text: String {
    var lines: [Line] = []
    for root in roots { Self.append(root, first: "", others: "", to: &lines) }
    var figures = Table(
      .left("OP"), .right("REQUESTS"), .right("BYTES"), .right("ERRORS"), .right("NOW"), .right("MEAN"), .right("P50"), .right("P99"))
    for line in lines { line.addFigures(to: &figures) }
    let rows = figures.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    let figuresWidth = rows.map(\.count).max() ?? 0
    let labelWidth = max(Self.leastLabelWidth, min(lines.map(\.label.count).max() ?? 0, Self.width - figuresWidth - 2))
    let labels = ["LAYER"] + lines.map { Self.cut($0, to: labelWidth) }
    return zip(labels, rows).map { label, row in
      row.isEmpty ? label : label + String(repeating: " ", count: max(0, labelWidth - label.count) + 2) + row
    }.joined(separator: "\n")
  }

  /// One line: the layer's name or the branches that pass by, and the figures of one operation.
  private struct Line {
    var label: String
    /// Where the layer's name ends in the label, in characters; nil on a line that has none.
    var layerEnd: Int?
    var operation: String
    var counters: OperationCounters?

    func addFigures(to table: inout Table) {
      guard let counters else { return table.add(operation, "", "", "", "", "", "", "") }
      let latency = counters.latency
      // A flush moves no bytes, and what has not ended has no latency.
      let isTimed = counters.requests > 0
      table.add(
        operation, Figures.count(counters.requests), operation == "flush" ? "-" : Figures.size(counters.bytes),
        Figures.count(counters.errors), Figures.count(counters.inFlight),
        isTimed ? Figures.latency(nanoseconds: latency.meanNanoseconds) : "-",
        isTimed ? Figures.latency(nanoseconds: latency.p50Nanoseconds) : "-",
        isTimed ? Figures.latency(nanoseconds: latency.p99Nanoseconds) : "-")
    }
  }

  /// - Parameters:
  ///   - first: what stands before the layer's name.
  ///   - others: what stands before the lines that follow it.
  private static func append(_ node: StackNode, first: String, others: String, to lines: inout [Line]) {
    let operations: [(String, OperationCounters)] = [
      ("read", node.read), ("write", node.write), ("flush", node.flush), ("trim", node.discard), ("zero", node.writeZeroes),
    ]
    let busy = operations.filter { $0.1.requests > 0 || $0.1.inFlight > 0 || $0.1.errors > 0 }
    let remarks = node.remarks.isEmpty ? "" : " (\(node.remarks.joined(separator: ", ")))"
    let name = Printable.text(node.label.isEmpty ? node.layer : "\(node.layer) \(node.label)\(remarks)")
    let below = others + (node.children.isEmpty ? "" : "│")
    let layerEnd = first.count + node.layer.count
    if busy.isEmpty { lines.append(Line(label: first + name, layerEnd: layerEnd, operation: "idle", counters: nil)) }
    for (index, operation) in busy.enumerated() {
      let isFirst = index == 0
      lines.append(
        Line(label: isFirst ? first + name : below, layerEnd: isFirst ? layerEnd : nil, operation: operation.0, counters: operation.1))
    }
    for (index, child) in node.children.enumerated() {
      let isLast = index == node.children.count - 1
      append(child, first: others + (isLast ? "└─ " : "├─ "), others: others + (isLast ? "   " : "│  "), to: &lines)
    }
  }

  /// Shortens what follows the layer's name, a path mostly, at its front: the branches and the layer are what the tree is for.
  private static func cut(_ line: Line, to width: Int) -> String {
    let label = line.label
    guard label.count > width, let end = line.layerEnd, end + 2 < width else { return String(label.prefix(max(width, line.layerEnd ?? 0))) }
    return label.prefix(end) + " …" + label.suffix(width - end - 2)
  }
}
