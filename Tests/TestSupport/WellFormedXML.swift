/// Whether tags nest and text holds no bare markup; for documents without comments and CDATA. Foundation's parsers on
/// Linux mend what they read, so they cannot tell.
public func isWellFormedXML(_ text: String) -> Bool {
  let entities = ["&amp;", "&lt;", "&gt;", "&quot;"]
  var open: [Substring] = []
  var rest = text[...]
  var nRoots = 0
  while let start = rest.firstIndex(where: { $0 == "<" || $0 == "&" || $0 == ">" }) {
    rest = rest[start...]
    if rest.first == "&" {
      guard let entity = entities.first(where: { rest.hasPrefix($0) }) else { return false }
      rest = rest.dropFirst(entity.count)
      continue
    }
    guard rest.first == "<", let end = rest.firstIndex(of: ">") else { return false }
    let tag = rest[rest.index(after: start)..<end]
    rest = rest[rest.index(after: end)...]
    if tag.hasPrefix("?") || tag.hasPrefix("!DOCTYPE") { continue }
    if tag.hasPrefix("/") {
      guard open.popLast() == tag.dropFirst() else { return false }
      continue
    }
    let name = tag.prefix { $0.isLetter }
    if open.isEmpty { nRoots += 1 }
    let quotes = tag.filter { $0 == "\"" }.count
    guard !name.isEmpty, nRoots == 1, quotes % 2 == 0, !tag.contains("<") else { return false }
    if !tag.hasSuffix("/") { open.append(name) }
  }
  return open.isEmpty && nRoots == 1 && !text.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" }
}
