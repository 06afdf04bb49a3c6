import ActCache
import Tokenizer

/// A part of a text that is left out or not taken as it is, and why.
package struct CorpusNotice: Equatable, Sendable, CustomStringConvertible {
  package let file: String
  /// Offset in the (decompressed) text.
  package let offset: Int
  package let what: String
  package var description: String { "\(file): byte \(offset): \(what)" }
}

/// A document, or a part of a long one.
struct TextPiece: Equatable {
  var bytes: ArraySlice<UInt8>
  /// Offset of the first byte in the decompressed file.
  var offset: Int
  var beginsDocument = true
  var endsDocument = true
}

/// Cuts the text of one file into documents. Memory holds one piece at a time, however large the file is.
final class DocumentReader {
  private let path: String
  private let source: any ByteSource
  private let format: CorpusFormat
  private let separator: [UInt8]
  private let textField: String
  private let report: (CorpusNotice) -> Void
  private let maxPieceBytes: Int
  private var buffer: [UInt8] = []
  /// First byte of `buffer` that is not used yet, and its offset in the text.
  private var start = 0
  private var offset = 0
  private var isAtEnd = false
  private var isInsideDocument = false
  /// Bytes from `start` on that hold no separator.
  private var searched = 0
  private(set) var counts = CorpusCounts()

  /// Longer documents are tokenized in parts, cut before a white space; longer lines are left out.
  static let maxPieceBytes = 4 << 20
  static let maxLineBytes = 64 << 20

  init(
    path: String, source: any ByteSource, separator: String, textField: String,
    maxPieceBytes: Int = DocumentReader.maxPieceBytes, report: @escaping (CorpusNotice) -> Void
  ) throws {
    self.path = path
    self.source = source
    self.textField = textField
    self.report = report
    self.maxPieceBytes = maxPieceBytes
    format = try CorpusFormat(path: path)
    self.separator = Array((format.content == .jsonLines ? "\n" : separator).utf8)
  }

  /// Bytes of the file that have been read.
  var bytesConsumed: Int { source.bytesConsumed }

  /// The next piece of text that is whole and not empty; nil at the end.
  func next() throws -> TextPiece? {
    while let raw = try format.content == .jsonLines ? nextLine() : nextPiece() {
      counts.bytes += raw.bytes.count
      guard let piece = format.content == .jsonLines ? textOfLine(raw) : raw else { continue }
      if piece.bytes.isEmpty && piece.beginsDocument && piece.endsDocument {
        counts.emptyDocuments += 1
        report(CorpusNotice(file: path, offset: piece.offset, what: "an empty document is left out"))
        continue
      }
      if let bad = UTF8Text.firstError(in: piece.bytes.span) {
        counts.invalidDocuments += 1
        let isWhole = piece.beginsDocument && piece.endsDocument
        let what = isWhole ? "document" : "part of a long document"
        report(CorpusNotice(file: path, offset: piece.offset + bad, what: "not UTF-8; this \(what) is left out"))
        if isWhole { continue }
        // Its other parts must still be told where the document begins and ends.
        return TextPiece(
          bytes: [], offset: piece.offset, beginsDocument: piece.beginsDocument, endsDocument: piece.endsDocument)
      }
      return piece
    }
    return nil
  }

  /// Reads more; false at the end of the file.
  private func fill() throws -> Bool {
    if isAtEnd { return false }
    let bytes = try source.read()
    if bytes.isEmpty {
      isAtEnd = true
      return false
    }
    if start > 0 {
      buffer.removeFirst(start)
      start = 0
    }
    buffer += bytes
    return true
  }

  private func take(_ count: Int, dropping rest: Int) -> TextPiece {
    let piece = TextPiece(bytes: ArraySlice(Array(buffer[start..<(start + count)])), offset: offset)
    start += count + rest
    offset += count + rest
    searched = 0
    return piece
  }

  /// Offset of the next separator after `start`; nil if the buffer holds none.
  private func findSeparator() -> Int? {
    let first = separator[0]
    let available = buffer.count - start
    var i = max(0, searched - separator.count + 1)
    while i + separator.count <= available {
      if buffer[start + i] == first,
        separator.indices.allSatisfy({ buffer[start + i + $0] == separator[$0] })
      {
        return i
      }
      i += 1
    }
    searched = available
    return nil
  }

  private func nextPiece() throws -> TextPiece? {
    while true {
      if let end = findSeparator(), end <= maxPieceBytes {
        var piece = take(end, dropping: separator.count)
        piece.beginsDocument = !isInsideDocument
        isInsideDocument = false
        return trimmed(piece)
      }
      if buffer.count - start > maxPieceBytes {
        var piece = take(cutBeforeSpace(), dropping: 0)
        piece.beginsDocument = !isInsideDocument
        piece.endsDocument = false
        isInsideDocument = true
        if piece.beginsDocument {
          report(
            CorpusNotice(
              file: path, offset: piece.offset,
              what: "a document longer than \(maxPieceBytes) bytes is cut into parts that are tokenized one by one"))
        }
        return piece
      }
      if try fill() { continue }
      // What follows the last separator: nothing, a line end, or the last document.
      let hasText = buffer[start...].contains { !isSpace($0) }
      if !hasText && !isInsideDocument { return nil }
      var piece = take(buffer.count - start, dropping: 0)
      piece.beginsDocument = !isInsideDocument
      isInsideDocument = false
      return trimmed(piece)
    }
  }

  /// The line ends beside a separator belong to the file, not to the document.
  private func trimmed(_ piece: TextPiece) -> TextPiece {
    guard format.content == .text else { return piece }
    var piece = piece
    if piece.beginsDocument {
      while piece.bytes.first == 0x0A || piece.bytes.first == 0x0D {
        piece.bytes.removeFirst()
        piece.offset += 1
      }
    }
    while piece.bytes.last == 0x0A || piece.bytes.last == 0x0D { piece.bytes.removeLast() }
    return piece
  }

  private func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 }

  /// Where a long piece ends: before the last white space that follows a letter, where tokens begin too; else at the
  /// start of a character.
  private func cutBeforeSpace() -> Int {
    let limit = maxPieceBytes
    var i = limit
    while i > limit / 2 {
      if isSpace(buffer[start + i]) && !isSpace(buffer[start + i - 1]) { return i }
      i -= 1
    }
    i = limit
    while i > limit - 4 && buffer[start + i] & 0xC0 == 0x80 { i -= 1 }
    return i
  }

  private func nextLine() throws -> TextPiece? {
    var skipped = 0
    while true {
      if let end = findSeparator() {
        let line = take(end, dropping: 1)
        if skipped + end > DocumentReader.maxLineBytes {
          leaveOutLine(line.offset - skipped, "a line of \(skipped + end) bytes is longer than 64 MiB and is left out")
          skipped = 0
          continue
        }
        if line.bytes.allSatisfy(isSpace) {
          leaveOutLine(line.offset, "an empty line is left out")
          continue
        }
        return line
      }
      if buffer.count - start > DocumentReader.maxLineBytes {
        skipped += buffer.count - start
        _ = take(buffer.count - start, dropping: 0)
      }
      if try fill() { continue }
      let rest = buffer.count - start
      if skipped + rest > DocumentReader.maxLineBytes {
        leaveOutLine(offset - skipped, "a line of \(skipped + rest) bytes is longer than 64 MiB and is left out")
        start = buffer.count
        return nil
      }
      return rest == 0 ? nil : take(rest, dropping: 0)
    }
  }

  private func leaveOutLine(_ offset: Int, _ what: String) {
    counts.invalidLines += 1
    report(CorpusNotice(file: path, offset: offset, what: what))
  }

  private func textOfLine(_ line: TextPiece) -> TextPiece? {
    do {
      let value = try CanonicalJSON(parsing: Array(line.bytes))
      guard case .object(let members) = value, case .string(let text)? = members[textField] else {
        leaveOutLine(line.offset, "a line without a text \"\(textField)\" is left out")
        return nil
      }
      return TextPiece(bytes: ArraySlice(text.utf8), offset: line.offset)
    } catch {
      leaveOutLine(line.offset, "\(error); this line is left out")
      return nil
    }
  }
}
