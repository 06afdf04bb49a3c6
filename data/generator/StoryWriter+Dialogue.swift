/// Direct speech, with the speaker's tag before, behind or amidst it.
extension StoryWriter {
  private enum TagPosition { case before, behind, between }

  /// `manner` is one of `say ask shout whisper answer`, with an emotion behind a full stop if there is one: `say.sad`.
  func speak(_ speaker: String, _ manner: String, to addressee: String?, _ parts: [[Template]]) {
    guard let character = characters[speaker] else { preconditionFailure("\(speaker) cannot speak") }
    let positions: [TagPosition] = parts.count > 1 ? [.behind, .before, .between] : [.behind, .before]
    let weights = parts.count > 1 ? [3, 2, 4] : [3, 2]
    switch positions[choices.index(weights: weights)] {
    case .before:
      tag(speaker, manner, to: addressee, mayInvert: false)
      write(", ")
      quotation(Array(parts.joined(separator: [.text([0x20])])), character.gender)
    case .behind:
      quotation(Array(parts.joined(separator: [.text([0x20])])), character.gender, beforeTag: true)
      tag(speaker, manner, to: addressee, mayInvert: true)
      write(".")
      return
    case .between:
      quotation(parts[0], character.gender, beforeTag: true)
      tag(speaker, manner, to: addressee, mayInvert: true)
      write(". ")
      quotation(Array(parts[1...].joined(separator: [.text([0x20])])), character.gender)
    }
    text.endSentence()
  }

  private func quotation(_ content: [Template], _ gender: Gender, beforeTag: Bool = false) {
    write("\"")
    text.atSentenceStart = true
    insideQuotation = true
    text.begin(.quotation)
    text.begin(.speakerGender)
    expand(content)
    if beforeTag { text.softenFullStop() }
    text.end(value: gender.rawValue)
    text.end(value: "inside")
    insideQuotation = false
    write("\"" + (beforeTag ? " " : ""))
  }

  private func tag(_ speaker: String, _ manner: String, to addressee: String?, mayInvert: Bool) {
    let parts = manner.split(separator: ".").map(String.init)
    let verb = "<" + choices.pick(speechVerbs[parts[0]] ?? [parts[0]]) + ">"
    if usesPronoun(for: speaker) {
      expand("{\(speaker).they} \(verb)")
    } else if mayInvert, addressee == nil, choices.chance(50) {
      expand("\(verb) {\(speaker).name}")
    } else {
      expand("{\(speaker).name} \(verb)")
    }
    if let addressee { expand(parts[0] == "ask" ? " {\(addressee).obj}" : " to {\(addressee).obj}") }
    if parts.count > 1 {
      expand(" [\(emotionAdverbs[parts[1]] ?? parts[1])/emotion=\(parts[1])]")
    }
  }
}

private let speechVerbs: [String: [String]] = [
  "say": ["say"], "shout": ["shout", "call", "cry"], "answer": ["answer", "say"],
]

private let emotionAdverbs: [String: String] = [
  "happy": "happily", "sad": "sadly", "angry": "angrily", "proud": "proudly", "afraid": "fearfully",
]
