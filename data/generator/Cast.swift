/// Grammatical and natural gender of a character.
enum Gender: String {
  case female, male

  var they: String { self == .female ? "she" : "he" }
  var them: String { self == .female ? "her" : "him" }
  var their: String { self == .female ? "her" : "his" }
  var theirs: String { self == .female ? "hers" : "his" }
  var themself: String { self == .female ? "herself" : "himself" }
}

/// Somebody in a story.
struct Being {
  var name: String
  var gender: Gender
  /// "girl", "grandmother", "fox".
  var noun: String
  /// nil for people.
  var species: Species?
  /// A template of the words before the noun: "[little/attribute]", "[red/color]".
  var looks: String
  var trait: String
  /// The role of the place where the character is.
  var place: String?
  /// The sentence of the last mention; nil before the first.
  var lastMention: Int?

  var kind: String { species == nil ? "person" : "animal" }
}

/// Something that can be owned, lost and given away.
struct Thing {
  var noun: String
  /// The noun as a template, with its sense where the word has several.
  var template: String
  /// Templates of the words before the noun, the colour included; fixed for the whole story.
  var looks: String
  /// What one does with it, after "to": a template that speaks of the thing as `{o.it}`.
  var use: String
  /// The role of the owner.
  var owner: String?
  var mentioned = false
}

/// Somewhere to be.
struct Place {
  /// The name the labels use.
  var name: String
  /// With article, as a template: "the [bank/sense=bank.river] of the river".
  var phrase: String
  var preposition: String
  var outdoors: Bool
  /// What is to be seen there: templates of whole sentences.
  var sights: [String]
  /// Where a lost thing may lie: "under the bench".
  var spots: [String]
}
