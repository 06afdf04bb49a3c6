/// Bars to the right, each of one or more stacked parts, on one scale from 0.
package struct SVGBars: SVGPanel {
  package struct Row: Sendable {
    package let label: String
    package let parts: [(kind: SVGKind, value: Double)]
    /// To the right of the bar.
    package let caption: String
    /// Smallest and largest of repeated measurements.
    package let spread: ClosedRange<Double>?

    package init(
      label: String, parts: [(kind: SVGKind, value: Double)], caption: String, spread: ClosedRange<Double>? = nil
    ) {
      self.label = label
      self.parts = parts
      self.caption = caption
      self.spread = spread
    }

    var total: Double { parts.reduce(0) { $0 + max(0, $1.value.isFinite ? $1.value : 0) } }
  }

  package let title: String
  /// Under the title; may be empty.
  package let note: String
  package let rows: [Row]

  package init(title: String, note: String = "", rows: [Row]) {
    self.title = title
    self.note = note
    self.rows = rows
  }

  private static let rowHeight = 22.0
  private static let labelWidth = 250.0
  private static let captionWidth = 210.0

  /// A legend only where there is something to tell apart.
  private var kinds: [SVGKind] {
    var seen: Set<SVGKind> = []
    let kinds = rows.flatMap(\.parts).map(\.kind).filter { seen.insert($0).inserted }
    return kinds.count > 1 ? kinds : []
  }

  private var top: Double { SVG.headHeight(note: note, hasLegend: !kinds.isEmpty) }
  package var height: Double { top + Double(rows.count) * SVGBars.rowHeight }

  package func elements(width: Double) -> [String] {
    let largest = rows.map { max($0.total, $0.spread?.upperBound ?? 0) }.max() ?? 0
    let scale = largest > 0 ? (width - SVGBars.labelWidth - SVGBars.captionWidth) / largest : 0
    var lines = SVG.head(title: title, note: note, kinds)
    for (i, row) in rows.enumerated() {
      let y = top + Double(i) * SVGBars.rowHeight
      lines.append(SVG.text(SVGBars.labelWidth - 8, y + 12, row.label, anchor: "end"))
      var x = SVGBars.labelWidth
      for part in row.parts where part.value > 0 && part.value.isFinite {
        lines.append(SVG.rectangle(x, y, part.value * scale, 16, fill: part.kind.colour, title: part.kind.label))
        x += part.value * scale
      }
      var end = x
      if let spread = row.spread, spread.upperBound.isFinite {
        let (low, high) = (
          SVGBars.labelWidth + spread.lowerBound * scale, SVGBars.labelWidth + spread.upperBound * scale
        )
        lines.append(SVG.line(low, y + 8, high, y + 8, stroke: "#000"))
        end = max(end, high)
      }
      lines.append(SVG.text(end + 6, y + 12, row.caption))
    }
    return lines
  }
}
