import Management

/// The running stack as a tree, with each layer's figures in aligned columns.
struct StackTree {
  /// The width that the whole fits into unless a tree is very deep, in characters.
  static let width = 120
  /// The least that a layer's name is cut to, in characters.
  private static let leastLabelWidth = 24
  /// A layer's line with remarks behind its name is at most so long, in characters; else they follow below, beside the figures where one is
  /// at most so long.
  private static let inlineWidth = 48
  private static let remarkWidth = 34

  let roots: [StackNode]

  var text: String {
    var lines: [Line] = []
    for root in roots { Self.append(root, first: "", others: "", to: &lines) }
    var figures = Table(
      .left("OP"), .right("REQUESTS"), .right("BYTES"), .right("ERRORS"), .right("NOW"), .right("MEAN"), .right("P50"), .right("P99"))
    for line in lines { line.addFigures(to: &figures) }
    let rows = figures.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    let figuresWidth = rows.map(\.count).max() ?? 0
    let widest = lines.filter { !$0.isWide }.map(\.label.count).max() ?? 0
    let labelWidth = max(Self.leastLabelWidth, min(widest, Self.width - figuresWidth - 2))
    let labels = ["LAYER"] + lines.map { $0.isWide ? $0.label : Self.cut($0, to: labelWidth) }
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
    /// A long remark, with no figures beside it: it is not cut.
    var isWide = false

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
    let below = others + (node.children.isEmpty ? "" : "│")
    var labels = [first + Printable.text(node.label.isEmpty ? node.layer : "\(node.layer) \(node.label)")]
    let inline = node.remarks.isEmpty ? "" : Printable.text(" (\(node.remarks.joined(separator: ", ")))")
    let remarks = labels[0].count + inline.count <= inlineWidth ? [] : node.remarks.map(Printable.text)
    if remarks.isEmpty { labels[0] += inline }
    labels += remarks.filter { $0.count <= remarkWidth }.map { "\(below)  \($0)" }
    for index in 0..<max(labels.count, busy.count, 1) {
      lines.append(
        Line(
          label: index < labels.count ? labels[index] : below, layerEnd: index == 0 ? first.count + node.layer.count : nil,
          operation: index < busy.count ? busy[index].0 : index == 0 ? "idle" : "", counters: index < busy.count ? busy[index].1 : nil))
    }
    for remark in remarks where remark.count > remarkWidth {
      lines.append(Line(label: "\(below)  \(remark)", operation: "", counters: nil, isWide: true))
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
