/// A piece of a story with its choices still open. In template text:
///
///     (a|2*b|c)           one of the alternatives; a weight stands before `*`
///     {A} {A.their} {o.a} a mention of what plays role A or o, in a form (`StoryWriter+References`)
///     <go> <go+>          a verb of the narration, inflected; `+` for a plural subject
///     [text/concept]      a labelled span; the value is the text in lower case
///     [text/concept=v]    the same with the value given
///     «A ask B: x//y»     direct speech of A (to B); a tag may stand at `//` (`StoryWriter+Dialogue`)
///
/// "a" becomes "an" and sentences get their capitals by themselves.
indirect enum Template {
  case text([UInt8])
  case choice(weights: [Int], alternatives: [[Template]])
  case slot(role: String, form: String)
  case verb(String, plural: Bool)
  case label(Concept, value: String?, [Template])
  case quote(speaker: String, manner: String, addressee: String?, parts: [[Template]])

  /// Traps on malformed templates: they are part of this program's source.
  static func parse(_ source: String) -> [Template] {
    var parser = TemplateParser(Array(source.utf8))
    let nodes = parser.sequence(until: [])
    precondition(parser.atEnd, "unbalanced template: \(source)")
    return nodes
  }
}

private struct TemplateParser {
  private let bytes: [UInt8]
  private var position = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var atEnd: Bool { position == bytes.count }

  private func looking(at word: String) -> Bool { bytes[position...].starts(with: word.utf8) }

  private mutating func skip(_ word: String) {
    precondition(looking(at: word), "expected \(word) at byte \(position) of \(String(decoding: bytes, as: UTF8.self))")
    position += word.utf8.count
  }

  /// The text up to `stop`, which is skipped.
  private mutating func word(until stop: String) -> String {
    let start = position
    while !atEnd, !looking(at: stop) { position += 1 }
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    skip(stop)
    return text
  }

  mutating func sequence(until stops: [String]) -> [Template] {
    var nodes: [Template] = []
    var literal: [UInt8] = []
    func flush() {
      if !literal.isEmpty { nodes.append(.text(literal)) }
      literal = []
    }
    while !atEnd, !stops.contains(where: { looking(at: $0) }) {
      if let node = structured() {
        flush()
        nodes.append(node)
      } else {
        literal.append(bytes[position])
        position += 1
      }
    }
    flush()
    return nodes
  }

  private mutating func structured() -> Template? {
    if looking(at: "(") { return choice() }
    if looking(at: "{") {
      skip("{")
      let parts = word(until: "}").split(separator: ".", maxSplits: 1).map(String.init)
      return .slot(role: parts[0], form: parts.count > 1 ? parts[1] : "")
    }
    if looking(at: "<") {
      skip("<")
      let verb = word(until: ">")
      return verb.hasSuffix("+") ? .verb(String(verb.dropLast()), plural: true) : .verb(verb, plural: false)
    }
    if looking(at: "[") { return label() }
    return looking(at: "«") ? quote() : nil
  }

  private mutating func choice() -> Template {
    var weights: [Int] = []
    var alternatives: [[Template]] = []
    skip("(")
    while true {
      var weight = 1
      if position + 1 < bytes.count, bytes[position + 1] == UInt8(ascii: "*"), let digit = Int(digits: bytes[position])
      {
        weight = digit
        position += 2
      }
      weights.append(weight)
      alternatives.append(sequence(until: ["|", ")"]))
      if looking(at: "|") {
        skip("|")
      } else {
        skip(")")
        return .choice(weights: weights, alternatives: alternatives)
      }
    }
  }

  private mutating func label() -> Template {
    skip("[")
    let inner = sequence(until: ["/"])
    skip("/")
    let parts = word(until: "]").split(separator: "=", maxSplits: 1).map(String.init)
    guard let concept = Concept(rawValue: parts[0]) else { preconditionFailure("no concept is called \(parts[0])") }
    return .label(concept, value: parts.count > 1 ? parts[1] : nil, inner)
  }

  private mutating func quote() -> Template {
    skip("«")
    let head = word(until: ": ").split(separator: " ").map(String.init)
    var parts = [sequence(until: ["//", "»"])]
    while looking(at: "//") {
      skip("//")
      parts.append(sequence(until: ["//", "»"]))
    }
    skip("»")
    return .quote(speaker: head[0], manner: head[1], addressee: head.count > 2 ? head[2] : nil, parts: parts)
  }
}

extension Int {
  fileprivate init?(digits byte: UInt8) {
    guard (0x31...0x39).contains(byte) else { return nil }
    self = Int(byte) - 0x30
  }
}
