/// The state of a story while it is told: who is where, who owns what, who was spoken of last.
final class StoryWriter {
  var choices: ChoiceSource
  var text = TextBuilder()
  let tense: Tense
  /// Roles are short names that templates use: `A`, `B` people and animals, `o`, `p` things, `P`, `Q` places.
  var characters: [String: Being] = [:]
  var things: [String: Thing] = [:]
  var places: [String: Place] = [:]
  /// Roles that stand for a template, chosen once and kept: "{food}".
  var words: [String: String] = [:]
  var insideQuotation = false
  private let templates: TemplateCache
  private var scene: (start: Int, place: String)?

  init(choices: ChoiceSource, templates: TemplateCache) {
    self.choices = choices
    self.templates = templates
    var choices = choices
    tense = choices.chance(70) ? .past : .present
    self.choices = choices
  }

  /// Tells one or more sentences.
  func tell(_ template: String) {
    text.space()
    expand(template)
  }

  /// Tells one of `alternatives`, all equally likely.
  func tellOne(of alternatives: [String]) { tell(choices.pick(alternatives)) }

  /// Tells the template in `percent` of the stories.
  func maybe(_ percent: Int, _ template: String) {
    if choices.chance(percent) { tell(template) }
  }

  func paragraph() { text.newLine() }

  func expand(_ template: String) { expand(templates.parsed(template)) }

  func expand(_ nodes: [Template]) {
    for node in nodes {
      switch node {
      case .text(let bytes): text.append(bytes, insideQuotation: insideQuotation)
      case .choice(let weights, let alternatives):
        let equal = weights.allSatisfy { $0 == weights[0] }
        expand(alternatives[equal ? choices.index(below: weights.count) : choices.index(weights: weights)])
      case .slot(let role, let form): mention(role, form)
      case .verb(let verb, let plural):
        text.begin(.tense)
        write(inflect(verb, tense, plural: plural))
        text.end(value: tense.rawValue)
      case .label(let concept, let value, let inner):
        text.begin(concept)
        expand(inner)
        text.end(value: value ?? text.openText)
      case .quote(let speaker, let manner, let addressee, let parts):
        speak(speaker, manner, to: addressee, parts)
      }
    }
  }

  func write(_ string: String) { text.append(Array(string.utf8), insideQuotation: insideQuotation) }

  /// Puts characters into the place of role `place`; the stretch that follows is labelled as its scene.
  func move(_ roles: String..., to place: String) {
    for role in roles { characters[role]?.place = place }
    closeScene()
    scene = (text.bytes.count, places[place]?.name ?? place)
  }

  private func closeScene() {
    if let scene { text.label(from: scene.start, .scene, scene.place) }
    scene = nil
  }

  /// The value of labels that name a character's gender.
  func genderName(of role: String) -> String {
    guard let character = characters[role] else { preconditionFailure("nobody plays the role \(role)") }
    return character.gender.rawValue
  }

  func give(_ thing: String, to owner: String?) { things[thing]?.owner = owner }

  func finish(plot: String) -> Story {
    closeScene()
    text.label(from: 0, .plot, plot)
    return text.finished(nats: choices.nats)
  }
}

/// Parsed templates by their source, shared by all stories.
final class TemplateCache {
  private var parsedBySource: [String: [Template]] = [:]

  func parsed(_ source: String) -> [Template] {
    if let known = parsedBySource[source] { return known }
    let nodes = Template.parse(source)
    parsedBySource[source] = nodes
    return nodes
  }
}
