/// Who does what when: a lane for each thread, time to the right.
package struct SVGTimeline: SVGPanel {
  package struct Span: Sendable {
    package let kind: SVGKind
    /// Seconds.
    package let start: Double
    package let end: Double

    package init(_ kind: SVGKind, from start: Double, to end: Double) {
      self.kind = kind
      self.start = start
      self.end = end
    }
  }

  package struct Lane: Sendable {
    package let name: String
    /// To the right of the lane.
    package let note: String
    package let spans: [Span]

    package init(name: String, note: String, spans: [Span]) {
      self.name = name
      self.note = note
      self.spans = spans
    }
  }

  package let title: String
  /// Under the title; may be empty.
  package let note: String
  package let lanes: [Lane]
  /// What the time axis covers.
  package let seconds: Range<Double>

  /// - Parameter seconds: the stretch to show; by default from the first span to the last.
  package init(title: String, note: String = "", lanes: [Lane], seconds: Range<Double>? = nil) {
    self.title = title
    self.note = note
    self.lanes = lanes
    let spans = lanes.flatMap(\.spans)
    let start = spans.map(\.start).min() ?? 0
    self.seconds = seconds ?? start..<max(start, spans.map(\.end).max() ?? 0)
  }

  private static let laneHeight = 30.0
  private static let nameWidth = 110.0
  private static let noteWidth = 130.0
  private var top: Double { SVG.headHeight(note: note, hasLegend: !kinds.isEmpty) }

  package var height: Double { top + Double(lanes.count) * SVGTimeline.laneHeight + 22 }

  private var kinds: [SVGKind] {
    var seen: Set<SVGKind> = []
    let kinds = lanes.flatMap(\.spans).map(\.kind).filter { seen.insert($0).inserted }
    return kinds.filter { !$0.isPale } + kinds.filter(\.isPale)
  }

  package func elements(width: Double) -> [String] {
    var lines = SVG.head(title: title, note: note, kinds)
    let plotWidth = width - SVGTimeline.nameWidth - SVGTimeline.noteWidth
    let length = seconds.upperBound - seconds.lowerBound
    func x(_ second: Double) -> Double {
      let place = min(max(second, seconds.lowerBound), seconds.upperBound) - seconds.lowerBound
      return SVGTimeline.nameWidth + (length > 0 ? place / length * plotWidth : 0)
    }
    for (row, lane) in lanes.enumerated() {
      let y = top + Double(row) * SVGTimeline.laneHeight
      lines.append(SVG.text(SVGTimeline.nameWidth - 8, y + 16, lane.name, anchor: "end"))
      for span in lane.spans where span.end > seconds.lowerBound && span.start < seconds.upperBound {
        let title = "\(span.kind.label): \(fixed((span.end - span.start) * 1e3, 2)) ms"
        lines.append(
          SVG.rectangle(x(span.start), y, x(span.end) - x(span.start), 22, fill: span.kind.colour, title: title))
      }
      lines.append(SVG.text(width - SVGTimeline.noteWidth + 8, y + 16, lane.note))
    }
    let bottom = top + Double(lanes.count) * SVGTimeline.laneHeight
    lines.append(SVG.line(x(seconds.lowerBound), bottom, x(seconds.upperBound), bottom, stroke: "#555"))
    let labels = [(seconds.lowerBound, "start"), ((seconds.lowerBound + seconds.upperBound) / 2, "middle")]
    for (second, anchor) in labels + [(seconds.upperBound, "end")] {
      let label = "\(fixed(second - seconds.lowerBound, length < 10 ? 3 : 1)) s"
      lines.append(SVG.text(x(second), bottom + 14, label, anchor: anchor, fill: "#555"))
    }
    return lines
  }
}
