package churn

import (
	"strings"
	"testing"
	"time"
)

func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

// answered is a round of a question after 10 s that these answered.
func answered(macs ...string) Round {
	r := Round{Addr: one, Asked: at(10_000), Ended: at(10_500)}
	for _, mac := range macs {
		r.Answers = append(r.Answers, Answer{mac, at(10_001)})
	}
	return r
}

func owner(mac string) string {
	return map[string]string{"aa": mine, "ab": mine, "bb": yours}[mac]
}

func TestWhoMayAnswerOnTheLAN(t *testing.T) {
	held := says(100, "Vip lb-1", mine, one)
	for sentence, tc := range map[string]struct {
		book  *Book
		round Round
		want  string // a part of what is told; empty: all is well
	}{
		"nobody":                             {bookOf(held), answered(), ""},
		"the gateway of the holder":          {bookOf(held), answered("aa"), ""},
		"two gateways of one Service":        {bookOf(held), answered("aa", "ab"), "to one question"},
		"two hosts of one hardware address":  {bookOf(held), answered("aa", "aa"), "to one question"},
		"gateways of two Services":           {bookOf(held), answered("aa", "bb"), yours},
		"the gateway of another Service":     {bookOf(held), answered("bb"), "while " + mine + " holds it"},
		"a host that is nobody's gateway":    {bookOf(held), answered("cc"), "while " + mine + " holds it"},
		"a gateway whose Service has no Vip": {bookOf(), answered("aa"), "no Vip"},
		"a gateway whose Vip went long ago": {
			bookOf(held, says(200, "Vip lb-1", mine)), Round{Addr: one, Asked: at(60_000), Ended: at(60_500), Answers: []Answer{{"aa", at(60_001)}}}, "no Vip",
		},
		"a gateway while a Pod has the address": {
			bookOf(held, says(200, "Vip lb-1", mine), says(300, pod, pod, one)), answered("aa"), "while " + pod + " holds it",
		},
		"a gateway whose Vip is being made anew": {bookOf(held, says(9_000, "Vip lb-1", mine)), answered("aa"), ""},
		"a gateway just when its address went to somebody else": {
			bookOf(held, says(9_990, "Vip lb-1", mine), says(10_000, pod, pod, one)), answered("aa"), "",
		},
		"a gateway of which the watch tells late": {bookOf(says(11_000, "Vip lb-1", mine, one)), answered("aa"), ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			got := tc.book.Judge(tc.round, owner).What
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("told %q, want %q", got, tc.want)
			}
		})
	}
}

func TestSilenceOnTheLAN(t *testing.T) {
	l := newLAN(&Observer{gateways: map[string]string{"aa": mine}}, []keptAddr{{"a/mine", one}})
	l.observer.book.Add(says(100, "Vip lb-1", mine, one))
	l.answered[one] = start
	ask := func(ms int, macs ...string) {
		r := answered(macs...)
		r.Asked, r.Ended = at(ms), at(ms+500)
		for i := range r.Answers {
			r.Answers[i].At = at(ms + 1)
		}
		l.rounds = append(l.rounds, r)
	}
	ask(1000, "aa")
	ask(2000)
	ask(5000, "aa")
	l.judge(at(5000))
	if l.asked != 0 {
		t.Errorf("%d rounds were judged before the watches could tell", l.asked)
	}
	l.judge(at(30_000))
	if len(l.silent) != 0 || l.longest != 4*time.Second || l.asked != 3 || l.heard != 2 {
		t.Errorf("silent %v, longest %s, asked %d, heard %d", l.silent, l.longest, l.asked, l.heard)
	}
	ask(9000)
	ask(11_000)
	l.judge(at(30_000))
	if len(l.silent) != 1 {
		t.Errorf("six seconds of silence: %v", l.silent)
	}
	// Not even the router is heard for a long time.
	for ms := 12_000; ms < 30_000; ms += 500 {
		ask(ms)
		l.rounds[len(l.rounds)-1].Deaf = true
	}
	l.judge(at(60_000))
	if len(l.silent) != 1 || l.deaf == 0 {
		t.Errorf("a LAN that stands still: %v", l.silent)
	}
	ask(30_000, "cc")
	l.judge(at(60_000))
	if len(l.doubles) != 1 {
		t.Errorf("a foreign host: %v", l.doubles)
	}
}
