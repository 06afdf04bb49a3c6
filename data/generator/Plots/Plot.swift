/// A chain of events. `tell` casts everybody it needs; A is always the hero.
struct Plot: Sendable {
  var name: String
  var tell: @Sendable (StoryWriter) -> Void

  static let all: [Plot] = [
    lost, found, helping, weatherChange, trade, savings, secret, trick, fear, journey, birthday, quarrel, contest, seed,
    nightLight, sharing,
  ]
}

/// Story `index` of the corpus with `seed`: a pure function of the two.
func makeStory(seed: UInt64, index: UInt64, templates: TemplateCache) -> Story {
  var choices = ChoiceSource(seed: seed, index: index)
  let plot = choices.pick(Plot.all)
  let writer = StoryWriter(choices: choices, templates: templates)
  plot.tell(writer)
  return writer.finish(plot: plot.name)
}
