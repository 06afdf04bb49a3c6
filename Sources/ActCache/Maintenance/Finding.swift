/// Something that a verification has to say of one file of a cache.
package struct Finding: Encodable, Equatable, Sendable, CustomStringConvertible {
  /// In the order of their weight.
  package enum Kind: String, Encodable, CaseIterable, Sendable {
    /// The file is not what was written, or not of this cache.
    case corrupt
    /// The system refuses to read it.
    case unreadable
    /// The cache is another model's, or its values are.
    case otherModel
    /// Something is not there yet, or no longer.
    case incomplete
    /// Nothing is wrong with the cache: a left-over file, for instance.
    case note

    /// Of a program whose gravest finding is of this kind (sysexits(3)).
    package var exitCode: Int32 {
      switch self {
      case .corrupt: 65
      case .unreadable: 74
      case .otherModel: 78
      case .incomplete: 69
      case .note: 0
      }
    }
  }

  package let kind: Kind
  /// Path of the file or folder.
  package let file: String
  package let what: String
  package let remedy: String
  /// What a repair moves aside, relative to the cache, in this order: receipts before their files.
  package let moves: [String]

  package init(_ kind: Kind, _ file: String, _ what: String, remedy: String, moves: [String] = []) {
    self.kind = kind
    self.file = file
    self.what = what
    self.remedy = remedy
    self.moves = moves
  }

  private enum CodingKeys: String, CodingKey { case kind, file, what, remedy }

  package var description: String { "\(kind.rawValue): \(file): \(what); \(remedy)" }
}

extension Sequence<Finding> {
  /// The gravest kind that is there; nil if there is no finding.
  package var gravest: Finding.Kind? { Finding.Kind.allCases.first { kind in contains { $0.kind == kind } } }
}
