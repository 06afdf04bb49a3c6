/// Filling the roles of a story.
extension StoryWriter {
  enum Part { case child, animal, adult }

  func cast(_ role: String, as part: Part) {
    let used = Set(characters.values.map(\.name))
    switch part {
    case .child:
      let gender: Gender = choices.chance(50) ? .female : .male
      let name = choices.pick((gender == .female ? girls : boys).filter { !used.contains($0) })
      characters[role] = Being(
        name: name, gender: gender, noun: gender == .female ? "girl" : "boy", looks: choices.pick(childLooks),
        trait: choices.pick(traits))
    case .animal:
      let species = choices.pick(allSpecies)
      let gender: Gender = choices.chance(50) ? .female : .male
      let size = choices.pick(["small", "big", "young", "old"])
      characters[role] = Being(
        name: choices.pick(animalNames.filter { !used.contains($0) }), gender: gender, noun: species.noun,
        species: species, looks: "[\(size)/attribute] [\(choices.pick(species.colors))/color]",
        trait: choices.pick(traits))
    case .adult:
      let adult = choices.pick(adults)
      characters[role] = Being(
        name: adult.name, gender: adult.gender, noun: adult.noun, looks: "", trait: "patient")
    }
  }

  /// A child or, less often, an animal.
  func castHero(_ role: String) { cast(role, as: choices.chance(65) ? .child : .animal) }

  func cast(_ role: String, ownedBy owner: String?) {
    let used = Set(things.values.map(\.noun))
    let kind = choices.pick(thingKinds.filter { !used.contains($0.noun) })
    let color = choices.pick(kind.colors)
    let make = choices.pick(kind.makes)
    things[role] = Thing(
      noun: kind.noun, template: kind.template,
      looks: materials.contains(make)
        ? "[\(color)/color] [\(make)/attribute]" : "[\(make)/attribute] [\(color)/color]",
      use: kind.use.replacing("{o.it}", with: "{\(role).it}"), owner: owner)
  }

  func castPlaces(_ roles: String..., outdoors: Bool? = nil) {
    for role in roles {
      let used = Set(places.values.map(\.name))
      places[role] = choices.pick(
        allPlaces.filter { !used.contains($0.name) && (outdoors == nil || $0.outdoors == outdoors) })
    }
  }

  /// Fixes a word for the rest of the story.
  func fix(_ role: String, _ alternatives: [String]) { words[role] = choices.pick(alternatives) }

  func fixCommonWords() {
    words["they"] = "[they/antecedent=group]"
    words["them"] = "[them/antecedent=group]"
    words["their"] = "[their/antecedent=group]"
    words["time"] = "[\(choices.pick(timesOfDay))/time]"
    words["treat"] = "(" + treats.joined(separator: "|") + ")"
  }
}
