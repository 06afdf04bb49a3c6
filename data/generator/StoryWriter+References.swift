/// How characters, things and places are spoken of.
extension StoryWriter {
  func mention(_ role: String, _ form: String) {
    if let character = characters[role] {
      mention(character, role, form)
    } else if let thing = things[role] {
      mention(thing, role, form)
    } else if let place = places[role] {
      mention(place, form)
    } else if let word = words[role] ?? musingWords[role] {
      expand(word)
    } else {
      preconditionFailure("nothing plays the role \(role) in this story")
    }
  }

  /// Whether "she" or "he" would be understood as `role`: spoken of in this sentence or the last one, and nobody else
  /// of that gender since the sentence before.
  private func pronounIsClear(_ role: String, _ character: Being) -> Bool {
    guard !insideQuotation, let last = character.lastMention, text.sentence - last <= 1 else { return false }
    return !characters.contains { other in
      other.key != role && other.value.gender == character.gender
        && other.value.lastMention.map { text.sentence - $0 <= 1 } ?? false
    }
  }

  /// Decides between pronoun and name. A second mention in one sentence is always a pronoun where that is clear.
  func usesPronoun(for role: String) -> Bool {
    guard let character = characters[role], pronounIsClear(role, character) else { return false }
    return character.lastMention == text.sentence || choices.chance(70)
  }

  // Forms: "" and "obj" choose between name and pronoun, "they them their theirs self" are pronouns, "name poss" …
  private func mention(_ character: Being, _ role: String, _ form: String) {
    switch form {
    case "": character.mention(in: self, usesPronoun(for: role) ? character.gender.they : nil)
    case "obj": character.mention(in: self, usesPronoun(for: role) ? character.gender.them : nil)
    case "name": character.mention(in: self, nil)
    case "they": character.mention(in: self, character.gender.they)
    case "them": character.mention(in: self, character.gender.them)
    case "self": character.mention(in: self, character.gender.themself)
    case "their": possessor(character, character.gender.their, "determiner")
    case "theirs": possessor(character, character.gender.theirs, "pronoun")
    case "poss":
      if usesPronoun(for: role) {
        possessor(character, character.gender.their, "determiner")
      } else {
        possessor(character, nil, "name")
      }
    case "names": possessor(character, nil, "name")
    case "intro": introduce(character)
    case "noun": return expand(character.noun)
    case "trait": return expand("[\(character.trait)/trait]")
    case "moves", "sound", "food":
      guard let species = character.species else { preconditionFailure("\(role) is no animal and has no \(form)") }
      return expand(form == "moves" ? species.moves : form == "sound" ? species.sound : species.food)
    default: preconditionFailure("no form of a character is called \(form)")
    }
    characters[role]?.lastMention = text.sentence
  }

  private func possessor(_ character: Being, _ pronoun: String?, _ kind: String) {
    text.begin(.possession)
    character.mention(in: self, pronoun, suffix: pronoun == nil ? "'s" : "")
    text.end(value: kind)
  }

  /// "a small red fox named Pip"; grown-ups are known by their names.
  private func introduce(_ character: Being) {
    guard character.looks != "" else { return character.mention(in: self, nil) }
    text.begin(.entity)
    text.begin(.gender)
    expand("a \(character.looks) \(character.noun) named \(character.name)")
    text.end(value: character.gender.rawValue)
    text.end(value: character.kind)
  }

  private func mention(_ thing: Thing, _ role: String, _ form: String) {
    switch form {
    case "": nounPhrase(thing, "the ", full: !thing.mentioned || choices.chance(25))
    case "full": nounPhrase(thing, "the ", full: true)
    case "a": nounPhrase(thing, "a ", full: true)
    case "plain": nounPhrase(thing, "a ", full: false)
    case "my", "your", "our":
      possession(form, "determiner")
      nounPhrase(thing, " ", full: choices.chance(30))
    case "it":
      text.begin(.entity)
      text.begin(.antecedent)
      write("it")
      text.end(value: "thing")
      text.end(value: "object")
    case "poss", "their":
      guard let owner = thing.owner else { preconditionFailure("nobody owns the \(thing.noun)") }
      mention(owner, form)
      nounPhrase(thing, " ", full: !thing.mentioned || choices.chance(30))
    case "use": return expand(thing.use)
    case "noun": return expand(thing.template)
    default: preconditionFailure("no form of a thing is called \(form)")
    }
    things[role]?.mentioned = true
  }

  private func possession(_ word: String, _ kind: String) {
    text.begin(.possession)
    write(word)
    text.end(value: kind)
  }

  private func nounPhrase(_ thing: Thing, _ determiner: String, full: Bool) {
    if determiner == " " { write(" ") }
    text.begin(.entity)
    expand((determiner == " " ? "" : determiner) + (full ? thing.looks + " " : "") + thing.template)
    text.end(value: "object")
  }

  private func mention(_ place: Place, _ form: String) {
    switch form {
    case "", "to", "at":
      if form == "to" { write("to ") }
      if form == "at" { write(place.preposition + " ") }
      text.begin(.entity)
      text.begin(.place)
      expand(place.phrase)
      text.end(value: place.name)
      text.end(value: "place")
    case "spot": expand(choices.pick(place.spots))
    case "sight": expand(choices.pick(place.sights))
    default: preconditionFailure("no form of a place is called \(form)")
    }
  }
}

extension Being {
  /// Writes the pronoun, or the name where it is nil, with its labels.
  fileprivate func mention(in writer: StoryWriter, _ pronoun: String?, suffix: String = "") {
    writer.text.begin(.entity)
    writer.text.begin(.gender)
    if pronoun != nil { writer.text.begin(.antecedent) }
    writer.write(pronoun ?? name)
    if pronoun != nil { writer.text.end(value: gender.rawValue) }
    writer.text.end(value: gender.rawValue)
    writer.text.end(value: kind)
    writer.write(suffix)
  }
}
