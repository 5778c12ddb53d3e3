"""The lexicon: what words of crypto news and slang say about a price, in points, and what they are about.

Points: 1 a hint, 2 plain, 3 strong, 4 an event that moves a market by itself. Positive speaks for a rising price.
"""

from __future__ import annotations

from typing import Final

from polaris_synapse.agents.sources.reader import Category

_M, _R, _S, _V = Category.MARKET, Category.REGULATION, Category.SECURITY, Category.SOLVENCY
_L, _T, _A, _F, _E = Category.LISTING, Category.TECHNOLOGY, Category.ADOPTION, Category.FLOWS, Category.MACRO


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORDS: Final = (
    (_M, 4, "skyrockets skyrocketed skyrocketing"),
    (_M, 3, """
        surge surges surged surging soar soars soared soaring rally rallies rallied rallying moon mooning mooned
        moonshot bullish breakout wagmi parabolic
    """),
    (_M, 2, """
        jump jumps jumped jumping climb climbs climbed climbing gain gains gained gaining rise rises rose rising
        rebound rebounds rebounded rebounding recover recovers recovered recovering recovery pump pumps pumped
        pumping uptrend bull bulls outperform outperforms outperformed strength strong stronger optimism optimistic
        upside accumulate accumulating accumulated accumulation hodl hodling ath undervalued demand momentum lambo
        bid upbeat reclaim reclaims reclaimed upgraded
    """),
    (_M, 1, """
        up higher green support steady long longs confidence confident hodlers advance advances advanced tops
        positive above edges ape aping send sends
    """),
    (_M, -4, "crash crashes crashed crashing collapse collapses collapsed collapsing meltdown wipeout bloodbath"),
    (_M, -3, """
        plunge plunges plunged plunging plummet plummets plummeted plummeting tumble tumbles tumbled tumbling tank
        tanks tanked tanking bearish dump dumps dumped dumping rekt nuke nuked capitulation capitulate capitulates
        panic selloff slump slumps slumped slumping ngmi freefall rout
    """),
    (_M, -2, """
        drop drops dropped dropping fall falls fell falling slide slides slid sliding sink sinks sank sinking
        decline declines declined declining lose loses lost losing losses loss liquidated liquidation liquidations
        downtrend bear bears fear fears fud weak weaker weakness pessimism pessimistic downside overvalued
        correction retreat retreats retreated bubble drawdown bagholders weakens weaken weakened dead
        underperform underperforms
        underperformed slips slipped slip breakdown rejection rejected bleed bleeding bleeds struggle struggles
        struggling distribution
    """),
    (_M, -1, """
        down lower red resistance short shorts pullback dip dips dipped concern concerns concerned worries worried
        below selling sell sells sold uncertainty volatile caution cautious warn warns warned warning negative risk
        risks risky cools eases
    """),
    (_R, 3, """
        approve approves approved approval greenlight greenlights greenlit legalize legalizes legalized legalises
        exonerated acquitted
    """),
    (_R, 2, """
        clarity dismissed license licence licensed licenses authorised authorized permits permitted compliant exempt
        exempts
    """),
    (_R, -3, """
        ban bans banned banning lawsuit lawsuits sues sued indicted indictment crackdown outlaw outlaws outlawed
        sanctions sanctioned convicted
    """),
    (_R, -2, """
        probe probes investigation investigates investigated subpoena subpoenas fine fined fines charges charged
        illegal penalty restrict restricts restricted restriction restrictions prohibits prohibit seized seizes
        guilty reject rejects rejected tax taxes upholds delay delays delayed postpones postponed
    """),
    (_S, 3, "patched whitehat"),
    (_S, -4, """
        hack hacked hacks hacker hackers exploit exploited exploits drained rugged rugpull stolen breach breached
        ponzi heist
    """),
    (_S, -3, """
        scam scams scammed fraud fraudulent phishing attack attacks attacked attackers attacker vulnerability
        vulnerabilities malware compromised theft steals depeg depegs depegged rug launder laundering
    """),
    (_V, -4, "bankrupt bankruptcy insolvent insolvency"),
    (_V, -3, """
        halts halt halted freezes froze frozen suspends suspended suspend default defaults defaulted liquidates
        shortfall contagion
    """),
    (_V, -2, "layoffs shutdown shutters redemptions"),
    (_V, 2, "solvent repay repays repaid resumes resumed"),
    (_L, 2, "lists listed listing relists relisted"),
    (_L, -3, "delist delists delisted delisting"),
    (_T, 2, """
        upgrade upgrades mainnet activated milestone faster scalability successful successfully completes completed
        breakthrough halving
    """),
    (_T, 1, """
        launch launches launched unveils release releases released testnet integrates integrated integration
        live
    """),
    (_T, -3, "outage outages offline"),
    (_T, -2, "bug bugs congestion congested failure fails failed stalls stalled split downtime glitch"),
    (_A, 3, "adopts adopted adoption"),
    (_A, 2, """
        partnership partners partnered invests invested investment institutional institutions embrace embraces
        embraced accept accepts accepted buys bought buying buy purchases purchased purchase acquires acquired backs
        reserve expands expanded record
    """),
    (_A, -2, "abandons abandoned ditches exits exited quits boycott"),
    (_F, 2, "inflow inflows"),
    (_F, -2, "outflow outflows"),
    (_E, 2, "dovish easing stimulus ceasefire"),
    (_E, -2, "hawkish recession tariffs tariff war inflation stagflation"),
)  # fmt: skip

_PHRASES: Final = (
    (_M, 4, "all-time high|all time high|record high|new ath|to the moon"),
    (_M, 3, """
        short squeeze|golden cross|higher high|higher highs|bull run|bull market|breaks out|broke out|buy the dip|
        buying the dip|bought the dip|diamond hands|ripping higher|leg up|up only|bottom is in|bounces back|
        bounced back|shrugs off|shakes off|face melting
    """),
    (_M, 2, """
        risk on|beats expectations|beat expectations|price target raised|cheap here|stacking sats|oversold|
        holds above|breaks above|broke above|supply shock|scooping up
    """),
    (_M, -4, "goes to zero|going to zero|dead cat bounce|death spiral|all-time low|record low"),
    (_M, -3, """
        long squeeze|death cross|lower low|lower lows|bear market|bull trap|sell off|sell-off|paper hands|
        under pressure|leg down|down bad|top is in|exit liquidity|blood in the streets|get out now|margin call|
        margin calls|exit scam
    """),
    (_M, -2, """
        risk off|misses expectations|missed expectations|profit taking|overbought|falls below|fell below|
        breaks below|broke below|slips below|drops below|price target cut|lost support|loses support|
        no longer bullish|head and shoulders|no bid
    """),
    (_R, 4, """
        etf approved|etf approval|approves etf|approves spot|wins approval|win approval|wins lawsuit|case dismissed|
        drops case|dropped case|drops lawsuit|drops charges|lifts ban|lifted ban|ban lifted|legal tender|wins court|
        cleared of
    """),
    (_R, -4, "etf rejected|rejects etf|etf rejection|denies etf|etf denied|declared illegal|pleads guilty"),
    (_R, -3, "wells notice|cease and desist|money laundering|insider trading|market manipulation|class action"),
    (_S, -4, "rug pull|private keys leaked|flash loan attack|bridge exploit|51% attack"),
    (_S, 2, """
        funds recovered|recovers funds|recovered funds|returns stolen|returned stolen|funds are safe|funds safe|
        bug bounty
    """),
    (_V, -4, """
        files for bankruptcy|filed for bankruptcy|chapter 11|halts withdrawals|halted withdrawals|
        suspends withdrawals|suspended withdrawals|freezes withdrawals|pauses withdrawals|bank run|unable to pay
    """),
    (_V, 3, "resumes withdrawals|resumed withdrawals|fully backed|proof of reserves|secures funding|raises funding"),
    (_L, 3, "to list|will list|now listed"),
    (_F, 3, """
        etf inflows|record inflows|exchange outflows|leaves exchanges|leave exchanges|off exchanges|
        exchange reserves fall|exchange balances fall|withdrawn from exchanges|moved off exchanges|net inflows
    """),
    (_F, -3, """
        etf outflows|record outflows|exchange inflows|sent to exchanges|moved to exchanges|moves to exchanges|
        exchange reserves rise|deposited to exchanges|deposits to exchanges|net outflows|whale deposits|whale dumps|
        transfers to exchanges|unlock of tokens|token unlock
    """),
    (_E, 3, """
        rate cut|rate cuts|cuts rates|cut rates|cooling inflation|inflation cools|inflation falls|inflation eases|
        softer inflation|lower than expected inflation|fears ease|tensions ease
    """),
    (_E, -3, """
        rate hike|rate hikes|raises rates|hikes rates|hot inflation|inflation rises|inflation surges|trade war|
        banking crisis|hotter than expected|higher for longer
    """),
    (_T, 3, """
        upgrade goes live|successful upgrade|upgrade successful|completes upgrade|hash rate high|hashrate high|
        lower fees|fees drop|fees fall
    """),
    (_T, -3, """
        network halted|chain halted|stops producing blocks|stopped producing blocks|network outage|high fees|
        fees spike|fees surge|client bug|consensus bug
    """),
    (_A, 3, """
        adds to treasury|added to treasury|strategic reserve|starts accepting|begins accepting|now accepts|
        will accept
    """),
    (_A, -3, "stops accepting|ends support|drops support|pulls out|dumps holdings|sells holdings|sold holdings"),
)  # fmt: skip

#: ``{word: (points, category)}`` and the same for phrases of several words.
WORDS: Final[dict[str, tuple[int, Category]]] = {
    word: (points, category) for category, points, words in _WORDS for word in words.split()
}
PHRASES: Final[dict[tuple[str, ...], tuple[int, Category]]] = {
    tuple(phrase.replace("-", " ").split()): (points, category)
    for category, points, phrases in _PHRASES
    for phrase in " ".join(phrases.split()).split("|")
}
PHRASE_WORDS_MAX: Final = max(len(phrase) for phrase in PHRASES)

#: Words that turn what follows within a few words round.
NEGATIONS: Final = _words(
    """
    not no never none nor neither without cannot cant dont doesnt didnt isnt arent wasnt werent wont wouldnt
    couldnt shouldnt hasnt havent hadnt aint denies denied deny refutes refuted rejects unlikely lacks lack
    barely hardly debunked debunks fails failing stop stops unable rules ruled contrary zero avoids avoided
    averts averted
    """
)
#: Words after which, or before which, bad news are good: *fears fade*, *hack recovered*, *ban lifted*.
RELIEF: Final = _words(
    """
    fade fades faded fading ease eases eased easing lifted lifts dismissed dismisses overturned
    overturns reversed resolves resolved ends ended averted denied debunked unfounded fixed fixes patched
    recovers recovered subsides subsided refuted contained thwarted foiled overblown overdone cleared withdrawn
    rebounds survives shrugs
    """
)
HEDGES: Final = _words(
    """
    may might could would possibly perhaps reportedly rumor rumors rumour rumours rumored allegedly unconfirmed
    speculation speculate potential potentially considering considers if whether maybe hopes hope hoping expects
    expected plans planning proposal proposes proposed sources claims claimed apparently seems likely
    """
)
STRENGTHENERS: Final = _words(
    """
    very extremely massive massively huge hugely sharply sharp major strongly heavily record biggest largest
    enormous dramatic dramatically insane brutal fully significantly absolutely seriously historic
    """
)
WEAKENERS: Final = _words(
    """
    slightly slight modest modestly somewhat minor small marginally little partially briefly temporarily mild
    mildly edges bit
    """
)
#: Good news that these follow is bad: *rally fades*.
FADES: Final = frozenset(
    {"fade", "fades", "faded", "fading", "reversed", "reverses", "unravels", "stalls", "evaporates"}
)
#: What these introduce is conceded, up to the next comma: *despite a strong start*.
CONCESSIONS: Final = frozenset({"despite", "notwithstanding"})
#: What these do to bad news about law is good: *charges dropped*; alone they speak of prices.
DROPPED: Final = frozenset({"drop", "drops", "dropped", "withdraws", "withdrawn", "end", "ends", "ended"})
#: What comes after one of these is what the writer means.
TURNS: Final = _words(
    """
    but however yet although though nevertheless still
    """
)
