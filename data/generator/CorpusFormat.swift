/// One line of the corpus: `{"text":"…","labels":[[gap,length,"concept","value"],…]}`.
///
/// `gap` counts the UTF-8 bytes from the start of the label before (of the story for the first one) to the start of this
/// one; labels are in order of their starts, so it is never negative. The corpus compresses to about half of what it
/// takes with absolute offsets.
func jsonLine(of story: Story) -> [UInt8] {
  var line = Array("{\"text\":\"".utf8)
  for byte in story.text { appendEscaped(byte, to: &line) }
  line += "\",\"labels\":[".utf8
  var previous = 0
  for (i, label) in story.labels.enumerated() {
    let (gap, length) = (label.start - previous, label.end - label.start)
    line += "\(i == 0 ? "" : ",")[\(gap),\(length),\"\(label.concept.rawValue)\",\"\(label.value)\"]".utf8
    previous = label.start
  }
  line += "]}\n".utf8
  return line
}

/// Stories hold printable ASCII and line feeds only; values of labels hold neither quotes nor backslashes.
private func appendEscaped(_ byte: UInt8, to line: inout [UInt8]) {
  switch byte {
  case 0x0A: line += [UInt8(ascii: "\\"), UInt8(ascii: "n")]
  case UInt8(ascii: "\""), UInt8(ascii: "\\"): line += [UInt8(ascii: "\\"), byte]
  default: line.append(byte)
  }
}
