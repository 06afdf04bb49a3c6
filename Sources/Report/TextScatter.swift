import Foundation

/// Points in a frame for the terminal; x is drawn on a logarithmic scale.
package struct TextScatter: Sendable {
  package struct Point: Sendable {
    package var x, y: Double
    /// What is drawn; points of one kind share it.
    package var mark: Character

    package init(x: Double, y: Double, mark: Character) {
      (self.x, self.y, self.mark) = (x, y, mark)
    }
  }

  private let xTitle, yTitle: String
  private let points: [Point]

  /// Points that have no place on the scales (x not positive, not finite) are left out.
  package init(x: String, y: String, _ points: [Point]) {
    (xTitle, yTitle) = (x, y)
    self.points = points.filter { $0.x > 0 && $0.x.isFinite && $0.y.isFinite }
  }

  /// Empty without points.
  package func text(width: Int = 60, height: Int = 14) -> String {
    guard let first = points.first else { return "" }
    var (left, right) = (log(first.x), log(first.x))
    var (low, high) = (first.y, first.y)
    for point in points {
      (left, right) = (min(left, log(point.x)), max(right, log(point.x)))
      (low, high) = (min(low, point.y), max(high, point.y))
    }
    func place(_ value: Double, _ from: Double, _ to: Double, _ cells: Int) -> Int {
      to > from ? Int(((value - from) / (to - from) * Double(cells - 1)).rounded()) : 0
    }
    var cells = [[Character]](repeating: [Character](repeating: " ", count: width), count: height)
    for point in points {
      cells[height - 1 - place(point.y, low, high, height)][place(log(point.x), left, right, width)] = point.mark
    }
    let labels = [scale(high), scale(low)]
    let margin = max(labels[0].count, labels[1].count)
    func padded(_ label: String) -> String { String(repeating: " ", count: margin - label.count) + label }
    var lines = [padded("") + " \(yTitle)"]
    for (i, row) in cells.enumerated() {
      let label = i == 0 ? labels[0] : i == height - 1 ? labels[1] : ""
      var line = String(row)
      while line.hasSuffix(" ") { line.removeLast() }
      lines.append("\(padded(label)) │\(line)")
    }
    lines.append(padded("") + " └" + String(repeating: "─", count: width))
    let (start, end) = (scale(points.map(\.x).min() ?? 0), scale(points.map(\.x).max() ?? 0))
    let middle = "\(xTitle) (log)"
    let gap = max(2, width - start.count - end.count - middle.count)
    lines.append(
      padded("") + "  " + start + String(repeating: " ", count: gap / 2) + middle
        + String(repeating: " ", count: gap - gap / 2) + end)
    return lines.joined(separator: "\n")
  }

  private func scale(_ value: Double) -> String { String(format: "%.3g", value) }
}
