package kubeovn

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/openapi"
	"k8s.io/klog/v2"
)

// oldestKubeOVN is the first Kube-OVN that kube-ovn-ccm is tested with.
const oldestKubeOVN = "v1.12"

// recheck is how often definitions that were good are looked at again: an
// upgrade of Kube-OVN may replace them. The API server's index says whether
// they have changed; only then they are read.
const recheck = time.Minute

// Documents is where the API server describes its kinds; openapi.Client is
// one. Every authenticated client may read them.
type Documents interface {
	Paths() (map[string]openapi.GroupVersion, error)
}

// definitions looks whether Kube-OVN's definitions have the fields that we
// need.
type definitions struct {
	documents Documents
	mended    func()
	retry     time.Duration

	mu      sync.Mutex
	seen    string // the address of the document, which holds a hash of it
	lacking map[Kind][]string
}

// CheckDefinitions has the Cache look from Start on whether Kube-OVN's
// definitions have every field that is needed; what they lack is in Missing.
// mended is called when they lack nothing any more; it must return quickly.
func (c *Cache) CheckDefinitions(documents Documents, mended func()) {
	c.definitions = &definitions{documents: documents, mended: mended, retry: unreadableRetry}
}

// run checks until ctx ends.
func (d *definitions) run(ctx context.Context) {
	for ctx.Err() == nil {
		pause := recheck
		if err := d.check(ctx); err != nil {
			// What cannot be had is not judged; an API server that is away is told of often enough.
			klog.FromContext(ctx).V(4).Info("Cannot read Kube-OVN's definitions", "err", err)
			pause = d.retry
		}
		if len(d.troubles()) > 0 {
			pause = d.retry
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait.Jitter(pause, 0.1)):
		}
	}
}

// check reads the definitions if they have changed.
func (d *definitions) check(ctx context.Context) error {
	paths, err := d.documents.Paths()
	if err != nil {
		return fmt.Errorf("reading the index of the API server's OpenAPI documents: %w", err)
	}
	group, ok := paths["apis/"+VipResource.GroupVersion().String()]
	if !ok {
		d.note(ctx, "", nil) // nothing is installed, which the watches tell
		return nil
	}
	if d.seen == group.ServerRelativeURL() {
		return nil
	}
	document, err := group.Schema("application/json")
	if err != nil {
		return fmt.Errorf("reading the OpenAPI document of %s: %w", VipResource.GroupVersion(), err)
	}
	lacking, err := lackingFields(document)
	if err != nil {
		return err
	}
	d.note(ctx, group.ServerRelativeURL(), lacking)
	return nil
}

// note remembers what is lacking, and says in the log what has changed.
func (d *definitions) note(ctx context.Context, seen string, lacking map[Kind][]string) {
	before := d.troubles()
	d.mu.Lock()
	d.seen, d.lacking = seen, lacking
	d.mu.Unlock()
	now := d.troubles()
	for _, s := range now {
		klog.FromContext(ctx).Error(nil, "A definition of Kube-OVN is too old", "trouble", s)
	}
	if len(before) > 0 && len(now) == 0 {
		klog.FromContext(ctx).Info("The definitions of Kube-OVN have all fields now")
		d.mended()
	}
}

// troubles says for people what is lacking, one line for each kind.
func (d *definitions) troubles() []string {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for _, kind := range []Kind{KindSubnet, KindVip, KindIP, KindVpc} {
		if fields := d.lacking[kind]; len(fields) > 0 {
			out = append(out, fmt.Sprintf("%s cannot be used: its CustomResourceDefinition is too old and lacks %s: apply the definitions of your Kube-OVN, which must be %s or later",
				kind, strings.Join(fields, ", "), oldestKubeOVN))
		}
	}
	return out
}
