/// A picture of panels, one below the other: one document that refers to nothing outside itself and runs nothing.
package struct SVGPicture: Sendable {
  package static let width = 960.0
  private static let margin = 24.0

  package let title: String
  /// Under the title: what was measured on what.
  package let notes: [String]
  package private(set) var panels: [any SVGPanel] = []

  package init(title: String, notes: [String]) {
    self.title = title
    self.notes = notes
  }

  package mutating func add(_ panel: some SVGPanel) { panels.append(panel) }

  /// A whole `.svg` file.
  package var svg: String { "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + element + "\n" }

  /// A whole `.html` file with the same picture.
  package var html: String {
    """
    <!DOCTYPE html>
    <html lang="en">
    <head><meta charset="utf-8"/><title>\(SVG.escape(title))</title></head>
    <body style="margin:0;background:#fff">
    \(element)
    </body>
    </html>

    """
  }

  private var element: String {
    var y = 40.0
    var lines = [SVG.text(SVGPicture.margin, y, title, size: 18, isBold: true)]
    for note in notes {
      y += 18
      lines.append(SVG.text(SVGPicture.margin, y, note, fill: "#555"))
    }
    y += 20
    for panel in panels {
      lines.append("<g transform=\"translate(\(SVG.number(SVGPicture.margin)) \(SVG.number(y)))\">")
      lines += panel.elements(width: SVGPicture.width - 2 * SVGPicture.margin)
      lines.append("</g>")
      y += panel.height + 20
    }
    let size = "\(SVG.number(SVGPicture.width)) \(SVG.number(y))"
    let head =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(size)\" font-family=\"sans-serif\" font-size=\"12\">"
    let background = SVG.rectangle(0, 0, SVGPicture.width, y, fill: "#fff")
    return ([head, background] + lines + ["</svg>"]).joined(separator: "\n")
  }
}

/// A part of a picture.
package protocol SVGPanel: Sendable {
  var height: Double { get }
  /// Elements between (0, 0) and (`width`, `height`).
  func elements(width: Double) -> [String]
}

/// What a colour stands for.
package struct SVGKind: Hashable, Sendable {
  package let label: String
  package let colour: String

  package init(_ label: String, colour: String) {
    self.label = label
    self.colour = colour
  }

  /// Tells apart for most kinds of colour blindness (Okabe and Ito 2008); `pale` is for waiting.
  package static let colours = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442"]
  package static let pale = "#dddddd"
  package var isPale: Bool { colour == SVGKind.pale }
}

/// Elements of SVG, as text.
enum SVG {
  static func escape(_ text: String) -> String {
    var escaped = ""
    for character in text.unicodeScalars {
      switch character {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      case "\"": escaped += "&quot;"
      // XML 1.0 has no way to write these.
      case _ where character.value < 0x20 && !"\t\n\r".unicodeScalars.contains(character): escaped += "\u{FFFD}"
      default: escaped.unicodeScalars.append(character)
      }
    }
    return escaped
  }

  /// With at most two decimals; what is not finite is 0.
  static func number(_ value: Double) -> String {
    guard value.isFinite else { return "0" }
    var text = fixed(value, 2)
    while text.hasSuffix("0") { text.removeLast() }
    if text.hasSuffix(".") { text.removeLast() }
    return text == "-0" ? "0" : text
  }

  static func rectangle(
    _ x: Double, _ y: Double, _ width: Double, _ height: Double, fill: String, title: String? = nil
  ) -> String {
    let shape =
      "<rect x=\"\(number(x))\" y=\"\(number(y))\" width=\"\(number(width))\" height=\"\(number(height))\" fill=\"\(fill)\""
    guard let title else { return shape + "/>" }
    return shape + "><title>\(escape(title))</title></rect>"
  }

  static func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, stroke: String) -> String {
    "<line x1=\"\(number(x1))\" y1=\"\(number(y1))\" x2=\"\(number(x2))\" y2=\"\(number(y2))\" stroke=\"\(stroke)\"/>"
  }

  static func text(
    _ x: Double, _ y: Double, _ text: String, size: Int? = nil, isBold: Bool = false, anchor: String? = nil,
    fill: String? = nil
  ) -> String {
    var attributes = "x=\"\(number(x))\" y=\"\(number(y))\""
    if let size { attributes += " font-size=\"\(size)\"" }
    if isBold { attributes += " font-weight=\"bold\"" }
    if let anchor { attributes += " text-anchor=\"\(anchor)\"" }
    if let fill { attributes += " fill=\"\(fill)\"" }
    return "<text \(attributes)>\(escape(text))</text>"
  }

  /// What stands above a panel: title, note, legend.
  static func head(title: String, note: String, _ kinds: [SVGKind]) -> [String] {
    var lines = [text(0, 14, title, size: 14, isBold: true)]
    if !note.isEmpty { lines.append(text(0, 32, note, fill: "#555")) }
    return lines + legend(kinds, y: note.isEmpty ? 24 : 42)
  }

  static func headHeight(note: String, hasLegend: Bool) -> Double {
    26 + (note.isEmpty ? 0 : 18) + (hasLegend ? 22 : 0)
  }

  /// Coloured squares with labels, in one line from (0, `y`).
  private static func legend(_ kinds: [SVGKind], y: Double) -> [String] {
    var x = 0.0
    return kinds.flatMap { kind in
      defer { x += 30 + 7 * Double(kind.label.count) }
      return [rectangle(x, y, 12, 12, fill: kind.colour), text(x + 16, y + 10, kind.label)]
    }
  }
}
