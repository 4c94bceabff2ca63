package churn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab"
)

// Options say where the churn is and for how long.
type Options struct {
	// Lab is the cluster, with kube-ovn-ccm installed.
	Lab *lab.Lab
	// Duration is how long addresses come and go; to begin and to end takes half a minute more.
	Duration time.Duration
	// Seed decides what happens. The same seed does the same, as far as the cluster is as fast.
	Seed uint64
	// Progress receives a line now and then. Nil is silent.
	Progress io.Writer
}

// churn is one run.
type churn struct {
	Options
	kube      kubernetes.Interface
	dyn       dynamic.Interface
	namespace string
	observer  *Observer
	lan       *lan
	done      *tally
	// silences are the addresses that Services show and Kube-OVN does not count, during the churn.
	silences silences
	// forgotten are those of the end, in words.
	forgotten []string
	// background are the deletions that are still to come.
	background sync.WaitGroup
}

// Run lets the churn happen and returns what was seen, also beside an error, if there was anything to see. The error is
// about what kept it from taking place; what is wrong with the addresses is in the report, whose Err tells. The cluster is
// left as it was found.
func Run(ctx context.Context, o Options) (report Report, err error) {
	c := &churn{Options: o, done: newTally()}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	config, err := o.Lab.RESTConfig()
	if err != nil {
		return report, err
	}
	config.QPS = -1 // the actors are slow enough
	if c.kube, err = kubernetes.NewForConfig(config); err != nil {
		return report, err
	}
	if c.dyn, err = dynamic.NewForConfig(config); err != nil {
		return report, err
	}
	// The cluster tests wait for the end of namespaces named so, where it matters.
	ns, err := c.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-churn-"}}, metav1.CreateOptions{})
	if err != nil {
		return report, fmt.Errorf("making a namespace for the churn: %w", err)
	}
	c.namespace = ns.Name
	defer func() {
		// Also after an interruption.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		err = errors.Join(err, c.cleanUp(ctx))
	}()
	return c.run(ctx)
}

func (c *churn) run(ctx context.Context) (Report, error) {
	start := time.Now()
	if err := connectHosts(c.Lab, true); err != nil {
		return Report{}, err
	}
	scope, err := makeNetworks(ctx, c.dyn, c.namespace)
	if err != nil {
		return Report{}, err
	}
	if c.observer, err = Observe(ctx, c.dyn, scope); err != nil {
		return Report{}, err
	}
	defer c.observer.Stop()
	kept, err := c.keepServices(ctx)
	if err != nil {
		return Report{}, err
	}
	c.lan = newLAN(c.observer, kept)
	fmt.Fprintf(c.Progress, "%d Services are served after %.1f s; addresses come and go now (seed %d)\n", len(keptServices), time.Since(start).Seconds(), c.Seed)

	watchCtx, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	watching := c.watch(watchCtx, kept)
	err = c.everybody(ctx)
	if err == nil {
		err = c.comesToRest(ctx, kept)
	}
	stopWatching()
	traffic, watchErr := watching()
	doubles, doublesErr := c.observer.Doubles(context.WithoutCancel(ctx))
	return c.report(doubles, traffic), errors.Join(err, watchErr, doublesErr)
}

// watch looks at the LAN, at the doubles in the book and at what a client gets, until the context ends; the returned
// function waits for that.
func (c *churn) watch(ctx context.Context, kept []keptAddr) func() ([]Traffic, error) {
	var wg sync.WaitGroup
	errs := make([]error, 2)
	traffic := make([]Traffic, len(kept))
	wg.Go(func() { errs[0] = c.lan.run(ctx, c.Lab) })
	wg.Go(func() { errs[1] = c.checkAgainAndAgain(ctx) })
	for i, k := range kept {
		wg.Go(func() { traffic[i] = connect(ctx, c.Lab.Host(lab.Client), k.port()) })
	}
	return func() ([]Traffic, error) {
		wg.Wait()
		return traffic, errors.Join(errs...)
	}
}

// checkAgainAndAgain looks for doubles each second, because those of which only one watch has told are to be looked at in
// the cluster while they are there, and tells of each at once.
func (c *churn) checkAgainAndAgain(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	told := 0
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		doubles, err := c.observer.Doubles(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		for ; told < len(doubles); told++ {
			fmt.Fprintln(c.Progress, "double:", doubles[told])
		}
		c.lan.judge(time.Now())
		c.silences.look(time.Now(), c.observer.Forgotten())
		if n%30 == 0 {
			fmt.Fprintf(c.Progress, "%s: %s\n", time.Duration(n)*time.Second, c.report(doubles, nil))
		}
	}
}

// everybody lets all actors act for the duration.
func (c *churn) everybody(ctx context.Context) error {
	deadline, cancel := context.WithTimeout(ctx, c.Duration)
	defer cancel()
	// Without a leader nothing comes to rest, so kube-ovn-ccm is left alone at the end.
	earlier, cancelEarlier := context.WithTimeout(deadline, c.Duration-leaseTime)
	defer cancelEarlier()
	actors := []func(context.Context, *rand.Rand) error{c.pods, c.services, c.vips, c.subnets, c.restartKubeOVN, c.restartOurs}
	errs := make(chan error)
	for i, act := range actors {
		during := deadline
		if i == len(actors)-1 {
			during = earlier
		}
		go func() { errs <- act(during, rand.New(rand.NewPCG(c.Seed, uint64(i)))) }()
	}
	var all []error
	for range actors {
		err := <-errs
		if err != nil && deadline.Err() == nil {
			all = append(all, err)
			cancel()
		}
	}
	c.background.Wait()
	return errors.Join(append(all, ctx.Err())...)
}

// nowAndThen does something in intervals that differ from the mean by a quarter at most, until the context ends.
func nowAndThen(ctx context.Context, rng *rand.Rand, mean time.Duration, do func(n int) error) error {
	for n := 0; ; n++ {
		if !sleep(ctx, between(rng, mean*3/4, mean*5/4)) {
			return nil
		}
		if err := do(n); err != nil {
			return err
		}
	}
}

func between(rng *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(rng.Int64N(int64(to-from)))
}

// sleep reports false when the context ended before the time was over.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
