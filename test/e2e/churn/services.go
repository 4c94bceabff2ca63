package churn

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// keptServices stay the whole time: one of each network with any address, and one with a certain one.
var keptServices = []struct {
	net    int
	number int // 0: any
}{{net: 0}, {net: 0, number: 40}, {net: 1}, {net: 1, number: 40}, {net: 2}, {net: 2, number: 40}}

// keptAddr is an address that such a Service has.
type keptAddr struct {
	service string
	addr    netip.Addr
}

func (k keptAddr) port() netip.AddrPort { return netip.AddrPortFrom(k.addr, 80) }

// service is one of all families of a network.
func (c *churn) service(name string, net network) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: c.namespace, Name: name,
			Annotations: map[string]string{kubeovn.AttachmentProvider: net.provider(c.namespace)},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Selector: map[string]string{"app": "web"},
			AllocateLoadBalancerNodePorts: ptr.To(false),
			Ports:                         []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}},
			IPFamilyPolicy:                ptr.To(corev1.IPFamilyPolicyRequireDualStack),
		},
	}
	if len(net.cidrs) == 1 {
		svc.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
		svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPFamily(kubeovn.FamilyName(net.cidrs[0].Addr().Is4()))}
	}
	return svc
}

// ask makes a Service ask for the addresses of its network that have that number.
func (c *churn) ask(svc *corev1.Service, number int) {
	for _, n := range networks {
		if p := n.provider(c.namespace); p == svc.Annotations[kubeovn.AttachmentProvider] {
			svc.Annotations[kubeovn.AnnotationKey(p, kubeovn.FieldIPAddress)] = list(n.at(number))
		}
	}
}

// keepServices makes the Services that stay, and Pods behind them, and waits until all of them are served.
func (c *churn) keepServices(ctx context.Context) ([]keptAddr, error) {
	for _, node := range c.Lab.Nodes() {
		_, err := c.kube.CoreV1().Pods(c.namespace).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "web-" + node, Labels: map[string]string{"app": "web"}},
			Spec: corev1.PodSpec{
				NodeSelector:                  map[string]string{corev1.LabelHostname: node},
				TerminationGracePeriodSeconds: new(int64),
				Containers: []corev1.Container{{
					Name: "web", Image: agnhost, ImagePullPolicy: corev1.PullNever, Args: []string{"netexec", "--http-port=8080"},
				}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("making a Pod behind the Services that stay: %w", err)
		}
	}
	for i, k := range keptServices {
		svc := c.service(fmt.Sprintf("kept-%d", i), networks[k.net])
		if k.number != 0 {
			c.ask(svc, k.number)
		}
		if _, err := c.kube.CoreV1().Services(c.namespace).Create(ctx, svc, metav1.CreateOptions{}); err != nil {
			return nil, fmt.Errorf("making a Service that stays: %w", err)
		}
	}
	var kept []keptAddr
	for i, k := range keptServices {
		name := fmt.Sprintf("kept-%d", i)
		var addrs []netip.Addr
		if err := until(ctx, time.Minute, "the addresses of Service "+name, func(ctx context.Context) error {
			svc, err := c.kube.CoreV1().Services(c.namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			addrs = nil
			for _, in := range svc.Status.LoadBalancer.Ingress {
				addrs = append(addrs, addresses(in.IP)...)
			}
			if len(addrs) != len(networks[k.net].cidrs) {
				return fmt.Errorf("it shows %s", list(addrs))
			}
			return nil
		}); err != nil {
			return nil, err
		}
		c.observer.Keep(c.namespace, name, addrs)
		for _, a := range addrs {
			kept = append(kept, keptAddr{name, a})
		}
	}
	return kept, c.allAnswer(ctx, kept)
}

// allAnswer waits until the Services that stay take connections.
func (c *churn) allAnswer(ctx context.Context, kept []keptAddr) error {
	for _, k := range kept {
		err := until(ctx, 30*time.Second, "a connection to "+k.port().String(), func(ctx context.Context) error {
			conn, err := c.Lab.Host("client").Dial(ctx, "tcp", k.port().String())
			if err == nil {
				err = conn.Close()
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// until asks again and again until there is no complaint; when the time is over the last one is the error.
func until(ctx context.Context, within time.Duration, what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var last error
	for {
		// Each try by itself, so that one that hangs is not the only one.
		try, done := context.WithTimeout(ctx, 2*time.Second)
		err := check(try)
		done()
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return fmt.Errorf("%s: not within %s: %w", what, within, last)
		}
	}
}
