/// Rows of text in aligned columns.
struct Table {
  enum Alignment {
    case left
    case right
  }

  struct Column {
    var title: String
    var alignment: Alignment

    static func left(_ title: String) -> Column { Column(title: title, alignment: .left) }
    static func right(_ title: String) -> Column { Column(title: title, alignment: .right) }
  }

  /// Between two columns.
  private static let gap = "  "

  var columns: [Column]
  /// Each as long as `columns`.
  private(set) var rows: [[String]] = []

  init(_ columns: Column...) {
    self.columns = columns
  }

  mutating func add(_ cells: String...) {
    assert(cells.count == columns.count)
    rows.append(cells.map(Printable.text))
  }

  /// A line of titles and one for each row, without blanks at their ends.
  var text: String {
    let lines = [columns.map(\.title)] + rows
    let widths = columns.indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
    return lines.map { cells in
      let padded = columns.indices.map { column in
        let blanks = String(repeating: " ", count: widths[column] - cells[column].count)
        return columns[column].alignment == .left ? cells[column] + blanks : blanks + cells[column]
      }
      let line = padded.joined(separator: Self.gap)
      return String(line.reversed().drop { $0 == " " }.reversed())
    }.joined(separator: "\n")
  }
}

/// Names and values of one object, one pair a line.
struct Fields {
  private var table = Table(.left(""), .left(""))

  /// Adds a line; nil adds none.
  mutating func add(_ name: String, _ value: String?) {
    guard let value else { return }
    table.add("\(name):", value)
  }

  var text: String { table.text.split(separator: "\n").joined(separator: "\n") }
}
