// Hand-written equivalents of two regular expressions. Every code point is of exactly one kind (letter, number,
// space, other), so each match is decided by the first one or two code points and ends where a run of one kind
// ends. Offsets are bytes into valid UTF-8; `start < end`.

/// End of the run of `kind` that includes `index`.
@inline(__always)
private func runEnd(
  _ text: borrowing Span<UInt8>, _ index: Int, _ end: Int, kind: UInt8, _ classes: borrowing UnicodeClasses
) -> Int {
  var index = index
  while index < end {
    let (flags, length) = classes.flags(text, at: index)
    if flags & UnicodeClasses.kindMask != kind { break }
    index += length
  }
  return index
}

/// Length of `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll` or `'d` at an apostrophe, or 0.
///
/// `ignoringCase` also takes capitals and U+017F (long s), whose simple case folding is "s".
@inline(__always)
private func contractionLength(_ text: borrowing Span<UInt8>, _ start: Int, _ end: Int, ignoringCase: Bool) -> Int {
  guard start + 1 < end else { return 0 }
  var second = text[start + 1]
  if ignoringCase {
    if second == 0xC5 && start + 2 < end && text[start + 2] == 0xBF { return 3 }
    if second >= 0x41 && second <= 0x5A { second |= 0x20 }
  }
  switch second {
  case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return 2
  case UInt8(ascii: "r"), UInt8(ascii: "v"), UInt8(ascii: "l"):
    guard start + 2 < end else { return 0 }
    var third = text[start + 2]
    if ignoringCase && third >= 0x41 && third <= 0x5A { third |= 0x20 }
    return third == (second == UInt8(ascii: "l") ? UInt8(ascii: "l") : UInt8(ascii: "e")) ? 3 : 0
  default: return 0
  }
}

/// `\s+(?!\S)|\s+` at a space: the run but for its last code point, which goes with what follows; the whole run at
/// the end of the text or where it is a single code point.
private func spaceRunEnd(
  _ text: borrowing Span<UInt8>, _ start: Int, _ end: Int, _ classes: borrowing UnicodeClasses
) -> Int {
  var index = start
  var last = start
  while index < end {
    let (flags, length) = classes.flags(text, at: index)
    if flags & UnicodeClasses.kindMask != UnicodeClasses.space { break }
    last = index
    index += length
  }
  return index == end || last == start ? index : last
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
@inline(__always)
func gpt2WordEnd(
  _ text: borrowing Span<UInt8>, _ start: Int, _ end: Int, _ classes: borrowing UnicodeClasses
) -> Int {
  let byte = text[start]
  var index = start
  if byte == 0x20 {
    index += 1
    if index == end { return end }
  } else if byte == UInt8(ascii: "'") {
    let length = contractionLength(text, start, end, ignoringCase: false)
    if length > 0 { return start + length }
  }
  let (flags, length) = classes.flags(text, at: index)
  let kind = flags & UnicodeClasses.kindMask
  if kind == UnicodeClasses.space { return spaceRunEnd(text, start, end, classes) }
  return runEnd(text, index + length, end, kind: kind, classes)
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
/// where `digits` stands for the 3.
@inline(__always)
func llama3WordEnd(
  _ text: borrowing Span<UInt8>, _ start: Int, _ end: Int, digits: Int, _ classes: borrowing UnicodeClasses
) -> Int {
  let byte = text[start]
  if byte == UInt8(ascii: "'") {
    let length = contractionLength(text, start, end, ignoringCase: true)
    if length > 0 { return start + length }
  }
  let first = classes.flags(text, at: start)
  let kind = first.flags & UnicodeClasses.kindMask
  var index = start + first.length
  switch kind {
  case UnicodeClasses.letter: return runEnd(text, index, end, kind: kind, classes)
  case UnicodeClasses.number:
    var count = 1
    while count < digits && index < end {
      let (flags, length) = classes.flags(text, at: index)
      if flags & UnicodeClasses.kindMask != UnicodeClasses.number { break }
      index += length
      count += 1
    }
    return index
  default: break
  }
  let isNewline = byte == 0x0A || byte == 0x0D
  var secondKind = UInt8.max
  if index < end {
    let second = classes.flags(text, at: index)
    secondKind = second.flags & UnicodeClasses.kindMask
    if secondKind == UnicodeClasses.letter && !isNewline {
      return runEnd(text, index + second.length, end, kind: secondKind, classes)
    }
  }
  if kind == UnicodeClasses.other || (byte == 0x20 && secondKind == UnicodeClasses.other) {
    index = runEnd(text, index, end, kind: UnicodeClasses.other, classes)
    while index < end && (text[index] == 0x0A || text[index] == 0x0D) { index += 1 }
    return index
  }
  // A run of spaces ends after its last newline, if it has one.
  index = start
  var lastNewline = -1
  var last = start
  while index < end {
    let (flags, length) = classes.flags(text, at: index)
    if flags & UnicodeClasses.kindMask != UnicodeClasses.space { break }
    last = index
    if text[index] == 0x0A || text[index] == 0x0D { lastNewline = index }
    index += length
  }
  if lastNewline >= 0 { return lastNewline + 1 }
  return index == end || last == start ? index : last
}
