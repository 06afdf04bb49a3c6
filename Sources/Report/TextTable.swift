import Foundation

/// A table for the terminal: a header, a line, rows; numbers are aligned to the right.
package struct TextTable: Sendable {
  package enum Alignment: Sendable { case left, right }

  private let header: [String]
  private let alignments: [Alignment]
  private var rows: [[String]] = []

  package init(_ columns: [(title: String, alignment: Alignment)]) {
    header = columns.map(\.title)
    alignments = columns.map(\.alignment)
  }

  package mutating func add(_ row: [String]) {
    precondition(row.count == header.count, "\(row.count) cells for \(header.count) columns")
    rows.append(row)
  }

  package var text: String {
    let widths = header.indices.map { column in ([header] + rows).map { $0[column].count }.max() ?? 0 }
    func line(_ cells: [String]) -> String {
      let padded = cells.enumerated().map { column, cell in
        let space = String(repeating: " ", count: widths[column] - cell.count)
        return alignments[column] == .left ? cell + space : space + cell
      }
      return trimmed(padded.joined(separator: "  "))
    }
    let rule = String(repeating: "─", count: widths.reduce(0, +) + 2 * (widths.count - 1))
    return ([line(header), rule] + rows.map(line)).joined(separator: "\n")
  }

  private func trimmed(_ line: String) -> String {
    var line = line
    while line.hasSuffix(" ") { line.removeLast() }
    return line
  }
}

/// A number with a fixed count of decimals, for tables.
package func fixed(_ value: Double, _ digits: Int) -> String {
  value.isFinite ? String(format: "%.\(digits)f", value) : "\(value)"
}

/// A count with thousands separated: 24,576.
package func grouped(_ count: Int) -> String {
  var groups: [String] = []
  var rest = String(abs(count))
  while rest.count > 3 {
    groups.insert(String(rest.suffix(3)), at: 0)
    rest.removeLast(3)
  }
  return (count < 0 ? "-" : "") + ([rest] + groups).joined(separator: ",")
}

/// A size in the largest unit that leaves at least one digit before the point: 4.2 MB (powers of 1,000).
package func byteSize(_ bytes: Int) -> String {
  let units = ["B", "kB", "MB", "GB", "TB"]
  var (value, unit) = (Double(bytes), 0)
  while value >= 1000 && unit < units.count - 1 {
    value /= 1000
    unit += 1
  }
  return unit == 0 ? "\(bytes) B" : "\(fixed(value, value < 10 ? 1 : 0)) \(units[unit])"
}

/// A length of time: 48 s, 3 min 05 s, 2 h 07 min.
package func duration(_ seconds: Double) -> String {
  guard seconds.isFinite, seconds >= 0, seconds < 1e9 else { return "?" }
  let s = Int(seconds.rounded())
  if s < 60 { return "\(s) s" }
  if s < 3600 { return "\(s / 60) min \(String(format: "%02d", s % 60)) s" }
  return "\(s / 3600) h \(String(format: "%02d", s % 3600 / 60)) min"
}

/// Three digits and a power of ten, such as 1.23e-07; 0 for zero.
package func scientific(_ value: Double) -> String { value == 0 ? "0" : String(format: "%.2e", value) }
