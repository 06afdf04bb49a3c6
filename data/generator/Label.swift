/// What a span of a story is known to be, by construction. The raw value is the name in the corpus file.
enum Concept: String, CaseIterable {
  /// `person`, `animal`, `object`, `place`: a mention, by name, noun phrase or pronoun.
  case entity
  /// `female`, `male`: a mention of a character.
  case gender
  /// `female`, `male`, `thing`, `group`: a third-person pronoun, by what it stands for.
  case antecedent
  /// `name`, `determiner`, `pronoun`: "Mia's", "her", "hers".
  case possession
  /// `female`, `male`, `both`: the words inside quotation marks, by who says them.
  case speakerGender = "speaker_gender"
  /// `inside`: the words inside quotation marks.
  case quotation
  /// The name of the place that is mentioned.
  case place
  /// The name of the place where this stretch of the story happens.
  case scene
  /// `past`, `present`: a verb of the narration.
  case tense
  case emotion
  case weather
  case time
  case color
  /// Size, age or make of a thing: `small`, `old`, `wooden`, …
  case attribute
  /// Lasting character: `brave`, `shy`, …
  case trait
  /// A number word, as digits.
  case number
  /// `word.sense` for a word that has several: `bank.river`, `bank.money`.
  case sense
  /// The kind of plot; spans the whole story.
  case plot
}

/// One labelled span: UTF-8 byte offsets [start, end) into the story's text.
struct Label: Equatable {
  var start: Int
  var end: Int
  var concept: Concept
  var value: String
}

/// A finished story.
struct Story {
  var text: [UInt8]
  /// Sorted by start; of those that start together the longest comes first.
  var labels: [Label]
  /// −ln of the probability of the choices that made it.
  var nats: Double

  var string: String { String(decoding: text, as: UTF8.self) }

  var wordCount: Int { text.split { $0 == 0x20 || $0 == 0x0A }.count }
}
