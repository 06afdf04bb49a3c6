/// Grows a story byte by byte: capitals at sentence starts, "an" before vowels, spans that survive both.
struct TextBuilder {
  private(set) var bytes: [UInt8] = []
  private(set) var labels: [Label] = []
  /// The next letter is made a capital.
  var atSentenceStart = true
  /// Sentences finished so far; pronouns look one sentence back.
  private(set) var sentence = 0
  private var open: [(start: Int, concept: Concept)] = []

  mutating func append(_ text: [UInt8], insideQuotation: Bool) {
    for byte in text { append(byte, insideQuotation: insideQuotation) }
  }

  private mutating func append(_ byte: UInt8, insideQuotation: Bool) {
    var byte = byte
    if (0x61...0x7A).contains(byte), atSentenceStart { byte -= 0x20 }
    if isLetter(byte) {
      if isVowel(byte), endsInArticle { insertN() }
      atSentenceStart = false
    }
    bytes.append(byte)
    if byte == UInt8(ascii: ".") || byte == UInt8(ascii: "!") || byte == UInt8(ascii: "?") {
      atSentenceStart = true
      if !insideQuotation { sentence += 1 }
    }
  }

  /// Turns "a " into "an " and moves the spans that begin behind it.
  private mutating func insertN() {
    let position = bytes.count - 1
    bytes.insert(UInt8(ascii: "n"), at: position)
    for i in open.indices where open[i].start > position { open[i].start += 1 }
    for i in labels.indices where labels[i].start > position { labels[i].start += 1 }
  }

  /// Whether the text ends in the word "a" and a space.
  private var endsInArticle: Bool {
    let n = bytes.count
    guard n >= 2, bytes[n - 1] == 0x20, bytes[n - 2] | 0x20 == UInt8(ascii: "a") else { return false }
    return n == 2 || !isLetter(bytes[n - 3])
  }

  mutating func space() {
    if let last = bytes.last, last != 0x0A, last != 0x20 { bytes.append(0x20) }
  }

  mutating func newLine() {
    while bytes.last == 0x20 { bytes.removeLast() }
    if !bytes.isEmpty { bytes.append(0x0A) }
    atSentenceStart = true
  }

  mutating func endSentence() { sentence += 1 }

  /// "Yes." becomes "Yes," when a speaker's tag follows.
  mutating func softenFullStop() {
    if bytes.last == UInt8(ascii: ".") { bytes[bytes.count - 1] = UInt8(ascii: ",") }
    atSentenceStart = false
  }

  mutating func begin(_ concept: Concept) { open.append((bytes.count, concept)) }

  /// Closes the span opened last.
  mutating func end(value: String) {
    let span = open.removeLast()
    labels.append(Label(start: span.start, end: bytes.count, concept: span.concept, value: value))
  }

  /// Labels [start, now) without the white space around it, unless nothing is left of it.
  mutating func label(from start: Int, _ concept: Concept, _ value: String) {
    var (start, end) = (start, bytes.count)
    while start < end, bytes[start] == 0x20 || bytes[start] == 0x0A { start += 1 }
    while start < end, bytes[end - 1] == 0x20 || bytes[end - 1] == 0x0A { end -= 1 }
    if start < end { labels.append(Label(start: start, end: end, concept: concept, value: value)) }
  }

  /// The text since the span opened last, in lower case.
  var openText: String { String(decoding: bytes[(open.last?.start ?? 0)...], as: UTF8.self).lowercased() }

  func finished(nats: Double) -> Story {
    let sorted = labels.enumerated().sorted { a, b in
      (a.element.start, -a.element.end, a.offset) < (b.element.start, -b.element.end, b.offset)
    }
    return Story(text: bytes, labels: sorted.map(\.element), nats: nats)
  }
}

private func isLetter(_ byte: UInt8) -> Bool { (0x61...0x7A).contains(byte | 0x20) }

private func isVowel(_ byte: UInt8) -> Bool {
  switch byte | 0x20 {
  case UInt8(ascii: "a"), UInt8(ascii: "e"), UInt8(ascii: "i"), UInt8(ascii: "o"), UInt8(ascii: "u"): true
  default: false
  }
}
