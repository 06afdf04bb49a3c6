/// The tense in which a story is told.
enum Tense: String { case past, present }

/// Inflects `verb` for a third person subject.
func inflect(_ verb: String, _ tense: Tense, plural: Bool) -> String {
  if let forms = irregularVerbs[verb] {
    switch tense {
    case .past: return plural ? (forms.pluralPast ?? forms.past) : forms.past
    case .present: return plural ? (forms.plural ?? verb) : (forms.singular ?? regularPresent(verb))
    }
  }
  switch tense {
  case .past: return regularPast(verb)
  case .present: return plural ? verb : regularPresent(verb)
  }
}

private func regularPresent(_ verb: String) -> String {
  if let stem = stemOfConsonantY(verb) { return stem + "ies" }
  for ending in ["s", "sh", "ch", "x", "z", "o"] where verb.hasSuffix(ending) { return verb + "es" }
  return verb + "s"
}

private func regularPast(_ verb: String) -> String {
  if let stem = stemOfConsonantY(verb) { return stem + "ied" }
  if doubledVerbs.contains(verb), let last = verb.last { return verb + String(last) + "ed" }
  return verb + (verb.hasSuffix("e") ? "d" : "ed")
}

private func stemOfConsonantY(_ verb: String) -> String? {
  let letters = Array(verb)
  guard letters.count > 2, letters[letters.count - 1] == "y" else { return nil }
  return "aeiou".contains(letters[letters.count - 2]) ? nil : String(letters.dropLast())
}

/// Verbs that double their last consonant in the past.
private let doubledVerbs: Set<String> = [
  "stop", "hop", "nod", "hug", "drop", "clap", "trot", "skip", "beg", "grab", "pat", "plan", "plod", "slip", "step",
  "strut", "chat", "tap", "tug", "rub", "dip", "wrap", "hum", "grin", "drip", "zip", "pet",
]

private struct Forms {
  var past: String
  var pluralPast: String?
  var singular: String?
  var plural: String?
  init(_ past: String, pluralPast: String? = nil, singular: String? = nil, plural: String? = nil) {
    self.past = past
    self.pluralPast = pluralPast
    self.singular = singular
    self.plural = plural
  }
}

private let irregularVerbs: [String: Forms] = [
  "be": Forms("was", pluralPast: "were", singular: "is", plural: "are"),
  "have": Forms("had", singular: "has"), "do": Forms("did"), "go": Forms("went"),
  "will": Forms("would", singular: "will"), "can": Forms("could", singular: "can"),
  "must": Forms("had to", singular: "has to", plural: "have to"), "say": Forms("said"), "see": Forms("saw"),
  "find": Forms("found"), "lose": Forms("lost"), "give": Forms("gave"), "get": Forms("got"), "take": Forms("took"),
  "make": Forms("made"), "come": Forms("came"), "run": Forms("ran"), "sit": Forms("sat"), "stand": Forms("stood"),
  "think": Forms("thought"), "know": Forms("knew"), "feel": Forms("felt"), "hear": Forms("heard"),
  "tell": Forms("told"), "hold": Forms("held"), "keep": Forms("kept"), "leave": Forms("left"),
  "bring": Forms("brought"),
  "buy": Forms("bought"), "begin": Forms("began"), "fall": Forms("fell"), "fly": Forms("flew"), "grow": Forms("grew"),
  "blow": Forms("blew"), "throw": Forms("threw"), "eat": Forms("ate"), "drink": Forms("drank"), "sing": Forms("sang"),
  "ring": Forms("rang"), "swim": Forms("swam"), "spring": Forms("sprang"), "rise": Forms("rose"),
  "shine": Forms("shone"), "sleep": Forms("slept"), "creep": Forms("crept"), "leap": Forms("leapt"),
  "shake": Forms("shook"), "wake": Forms("woke"), "put": Forms("put"), "let": Forms("let"), "hide": Forms("hid"),
  "forget": Forms("forgot"), "meet": Forms("met"), "catch": Forms("caught"), "hurt": Forms("hurt"),
  "break": Forms("broke"), "build": Forms("built"), "send": Forms("sent"), "lie": Forms("lay"), "ride": Forms("rode"),
  "read": Forms("read"), "write": Forms("wrote"), "win": Forms("won"), "speak": Forms("spoke"),
  "stride": Forms("strode"),
  "draw": Forms("drew"), "wear": Forms("wore"), "dig": Forms("dug"), "swing": Forms("swung"), "stick": Forms("stuck"),
  "sell": Forms("sold"), "pay": Forms("paid"), "understand": Forms("understood"), "bend": Forms("bent"),
  "freeze": Forms("froze"), "light": Forms("lit"), "climb": Forms("climbed"), "cut": Forms("cut"),
  "spend": Forms("spent"),
  "choose": Forms("chose"), "become": Forms("became"), "teach": Forms("taught"), "lead": Forms("led"),
  "hang": Forms("hung"), "fight": Forms("fought"), "set": Forms("set"), "beat": Forms("beat"), "bite": Forms("bit"),
]
