/// Freely composed sentences: small facts, memories, wishes and small talk that any story may hold.
///
/// Their parts are chosen independently of one another and of the plot, so that they give most of the corpus's
/// different sentences; `{creature}` and the like are filled in from `musingWords`.
let observations = [
  "{creature} {relative} {doing}.", "{creature} {doing}.", "{creature} <chase> {creature} {around}.",
  "{creature} that <carry> {crumb} {doing}.", "{A} <see> {creature} that {doing}.",
  "{numeral} [{color} {creatures}/entity=animal] <sit+> {around}.", "{creature} <look> at {A.obj} and {doing}.",
  "Somebody <have> [left/sense=left.remain] {thing} {around}.", "{adult} <go> by with {thing} and <nod>.",
  "{adult}, who <be> looking for {thing}, [<wave>/sense=wave.hand] to {A.obj}.",
  "{thing} that <belong> to {adult} <lie> {around}.",
]

let musings = [
  "{A} <think> of the [(day|night|week)/time] when {A.they} had {experience}.",
  "{A} <remember> how {adult} had {experience} {somewhere}.", "{A} <dream> of {thing} and {thing}.",
  "«A say: If I had \(numeral(10)) coins, I would buy {thing} for {adult}.»",
  "«A say: One day I want to see {creature} {somewhere}.»",
  "«A ask: Why does {creature} never {ability}?» Nobody <know>.",
  "{A} <make> up a song about {creature} {pastRelative}.",
  "{A} <wish> that {A.they} could {ability} like {creature}.",
]

/// `{X}` speaks to `{Y}`.
let smallTalk = [
  "«X say Y: Yesterday I saw {creature} {somewhere}.//It had {experience}.» «Y answer: {doubt}»",
  "«X ask Y: Which do you like better, {thing} or {thing}?» «Y answer: I like the {color} [one/antecedent=thing].»",
  "«X ask Y: Do you know {adult}?//We met {somewhere}.» «Y say: {doubt}»",
  "«X say Y: My (mother|father|uncle|aunt) has {thing}.//It came from {adult}.» «Y ask: May I see it?»",
  "«X say Y: I dreamed that I could {ability}.//Then {creature} woke me.» {Y} <laugh>.",
  "{X} <tell> {Y.obj} about {creature} {pastRelative}. «Y say: {doubt}»",
  "«Y say X: {adult} says that {creature} cannot {ability}.» «X answer: {doubt}»",
  "«X ask Y: How many {creatures} are there {somewhere}?» «Y answer: I counted {numeral}.»",
]

/// The choices that the sentences above leave open.
let musingWords: [String: String] = {
  var words: [String: String] = [:]
  words["color"] = "[(red|brown|white|black|gray|yellow|green|blue)/color]"
  words["numeral"] = "(" + (2...9).map(numeral).joined(separator: "|") + ")"
  words["creature"] =
    "[a (2*|[(small|big|young|old|fat|thin)/attribute] ){color} (bird|crow|beetle|snail|spider|sparrow|goose|cow|horse|"
    + "sheep|butterfly|lizard|toad|worm|swan|pig|donkey|wolf|deer|[crane/sense=crane.bird]|[bat/sense=bat.animal]|"
    + "[seal/sense=seal.animal]|[duck/sense=duck.bird]|[fly/sense=fly.insect])/entity=animal]"
  words["creatures"] =
    "(birds|crows|beetles|snails|spiders|geese|cows|horses|swans|pigs|[bats/sense=bat.animal]|[ducks/sense=duck.bird])"
  words["relative"] =
    "that (<live> in (a hollow tree|an old shoe|a broken pot|the church tower)|<have> only {numeral} (toes|teeth|friends)|"
    + "{A} <have> never seen before|<belong> to {adult}|<be> [afraid/emotion] of {creature})"
  words["pastRelative"] =
    "that (lived in (a teapot|a tall tower|a wooden leg|the moon)|wanted to {ability}|fell in love with {creature}|ate {numeral} (pies|hats|clouds))"
  words["doing"] =
    "(<sit> {around}|<sleep> {around}|<hop> {around}|<look> for {crumb}|<sing> {around}|<run> from {creature}|"
    + "[<fall>/sense=fall.drop] {into}|<drink> from a puddle|[<watch>/sense=watch.look] {A.obj}|<make> a nest {around}|"
    + "<eat> {crumb})"
  words["crumb"] =
    "(a crumb|a straw|a berry|a feather|a [nail/sense=nail.metal]|an ear of corn|a dry [leaf/sense=leaves.plant]|a slice of [orange/sense=orange.fruit])"
  words["around"] =
    "(on a wall|in the grass|under a bush|on the road|beside the well|on a roof|in the mud|near the gate|on a [rock/sense=rock.stone]|behind a cart|under the [leaves/sense=leaves.plant])"
  words["into"] = "into (a puddle|a bucket|the grass|a hole)"
  words["ability"] =
    "([fly/sense=fly.move]|swim|sing|dance|climb a tree|whistle|jump over the moon|walk on [two/number=2] legs|"
    + "sleep in the [rain/weather]|read a [letter/sense=letter.mail]|count to [ten/number=10]|[ring/sense=ring.sound] a bell)"
  words["experience"] =
    "(lost {thing}|found {thing}|caught a [cold/sense=cold.illness]|seen {creature}|[fallen/sense=fall.drop] {into}|"
    + "eaten {numeral} cakes|won a [match/sense=match.game]|written a [letter/sense=letter.mail]|planted a [rose/sense=rose.flower]|"
    + "been [afraid/emotion] of {creature})"
  words["doubt"] =
    "(I do not believe it.|Really? Tell me more!|How strange!|I know, I know.|That must be [hard/sense=hard.difficult].|"
    + "What a [bright/sense=bright.clever] thought!|You are [right/sense=right.correct].|That is [wrong/sense=wrong.false].|I have seen that, too.)"
  words["thing"] =
    "[a (2*|[(big|small|old|new|shiny|broken)/attribute] )[(red|blue|green|yellow|white|black|golden)/color] "
    + "(kite|ball|hat|drum|boat|book|lamp|basket|cup|bell|scarf|key|box|umbrella|wagon|chair|candle|"
    + "[ring/sense=ring.jewel]|[watch/sense=watch.clock]|[bat/sense=bat.club]|[bow/sense=bow.ribbon])/entity=object]"
  words["adult"] =
    "(" + adults.map { "[[\($0.name)/gender=\($0.gender.rawValue)]/entity=person]" }.joined(separator: "|") + ")"
  words["somewhere"] =
    "(" + allPlaces.map { "\($0.preposition) [[\($0.phrase)/place=\($0.name)]/entity=place]" }.joined(separator: "|")
    + ")"
  return words
}()
