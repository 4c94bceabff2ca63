// Package provider makes kube-ovn-ccm a cloud provider: it implements
// cloudprovider.Interface by a load balancer and nothing else, decides which
// Services the standard service controller gets to see, and wakes them when
// something that they depend on changes.
package provider

import (
	"context"
	"fmt"
	"io"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
	"github.com/kubeovn/kube-ovn-ccm/pkg/routes"
)

// Name is the name of the provider, the value of --cloud-provider.
const Name = "kube-ovn"

func init() { //nolint:gochecknoinits // cloud providers are registered under their name before main parses --cloud-provider
	cloudprovider.RegisterCloudProvider(Name, func(config io.Reader) (cloudprovider.Interface, error) {
		cfg, err := loadbalancer.ParseConfig(config, version.Get().GitVersion)
		if err != nil {
			return nil, err
		}
		return New(cfg), nil
	})
}

// Provider is the cloud provider. The application makes one in every replica;
// on the leader it calls Initialize, SetInformers and then the initializer of
// the service controller, in this order, and only then starts the informers.
type Provider struct {
	cfg loadbalancer.Config

	ctx      context.Context //nolint:containedctx // the leader's term; cloudprovider.Interface has no other place for it
	clients  clients
	services *serviceView
	nodes    nodeView
	balancer *loadbalancer.Balancer
}

// clients is how the API server is reached.
type clients struct {
	// controller is the service controller's client, which has a rate limit of
	// its own, so that the Events it writes do not hold up the gateways.
	controller kubernetes.Interface
	kube       kubernetes.Interface
	dynamic    dynamic.Interface
	// documents describe the API server's kinds.
	documents kubeovn.Documents
}

var (
	_ cloudprovider.Interface    = &Provider{}
	_ cloudprovider.InformerUser = &Provider{}
)

// New returns a provider that does nothing yet.
func New(cfg loadbalancer.Config) *Provider { return &Provider{cfg: cfg} }

// Initialize makes the clients. The process ends if that is impossible.
func (p *Provider) Initialize(builder cloudprovider.ControllerClientBuilder, stop <-chan struct{}) {
	config := builder.ConfigOrDie(kubeovn.ManagedBy)
	clients, err := newClients(config)
	if err != nil {
		klog.ErrorS(err, "Cannot make the clients")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
	p.connect(wait.ContextForChannel(stop), clients)
}

// newClients makes the clients. The API server takes the field manager of a
// write from the user agent where the request names none, and by the field
// manager we know our finalizer; so the user agent must not depend on the name
// of the binary.
func newClients(config *rest.Config) (clients, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = fmt.Sprintf("%s/%s", kubeovn.ManagedBy, version.Get().GitVersion)
	var c clients
	var err error
	if c.controller, err = kubernetes.NewForConfig(config); err != nil {
		return c, fmt.Errorf("client of the service controller: %w", err)
	}
	if c.kube, err = kubernetes.NewForConfig(config); err != nil {
		return c, fmt.Errorf("client for Kubernetes: %w", err)
	}
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return c, fmt.Errorf("client for Kube-OVN and multus: %w", err)
	}
	c.documents = c.kube.Discovery().OpenAPIV3()
	return c, nil
}

// connect sets for how long the provider works and with which clients.
func (p *Provider) connect(ctx context.Context, c clients) { p.ctx, p.clients = ctx, c }

// SetInformers puts the parts together and starts everything of ours but the
// shared informers, which the application starts after the controllers.
func (p *Provider) SetInformers(shared informers.SharedInformerFactory) {
	broadcaster := record.NewBroadcaster(record.WithContext(p.ctx))
	broadcaster.StartStructuredLogging(3)
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: p.clients.kube.CoreV1().Events("")})
	context.AfterFunc(p.ctx, broadcaster.Shutdown)

	kubeOVN := kubeovn.NewCache(p.clients.dynamic)
	managed := newManaged(p.clients.kube)
	theirs := newLbSvc(p.clients.kube)
	endpoints := newEndpointSlices(shared.Discovery().V1().EndpointSlices())
	waker := newWaker()
	router := routes.NewWriter(p.clients.dynamic, kubeOVN, routes.NewLease(p.clients.kube.CoordinationV1()), func(owner kubeovn.Owner) { waker.Wake(owner.Key(), 0) }, nil)
	p.balancer = loadbalancer.New(loadbalancer.Deps{
		Config:         p.cfg,
		Kube:           p.clients.kube,
		Dynamic:        p.clients.dynamic,
		KubeOVN:        kubeOVN,
		LbSvc:          theirs,
		Reserver:       ipam.NewReserver(kubeOVN, p.clients.dynamic, nil),
		Routes:         router,
		Recorder:       broadcaster.NewRecorder(scheme.Scheme, v1.EventSource{Component: kubeovn.ManagedBy}),
		Services:       shared.Core().V1().Services().Lister(),
		Deployments:    managed.deployments.Lister(),
		Pods:           managed.pods.Lister(),
		ConfigMaps:     managed.configMaps.Lister(),
		Nodes:          shared.Core().V1().Nodes().Lister(),
		EndpointSlices: endpoints.of,
		SandboxFailure: managed.sandboxes.message,
		Clock:          clock.RealClock{},
	})
	p.services = newServiceView(shared.Core().V1().Services(), p.cfg, p.balancer.StatusLost, append(managed.synced, endpoints.informer.HasSynced, theirs.Synced)...)
	p.services.beside = beside{lbSvc: theirs, deployments: managed.deployments.Lister(), tell: p.balancer.LeaveAlone}
	p.nodes = nodeView{shared.Core().V1().Nodes()}

	refresher := newRefresher(p.services, p.balancer.Refresh)
	p.balancer.SetWaker(waker.Wake)
	wakeups := &wakeups{view: p.services, waker: waker, balancer: p.balancer, network: kubeOVN, defaultAttachment: p.cfg.DefaultAttachment}
	managed.listen(wakeups.now)
	endpoints.listen(wakeups.now)
	theirs.listen(wakeups.now, wakeups.asking)
	kubeOVN.OnChange(wakeups.changed)
	kubeOVN.CheckDefinitions(p.clients.documents, wakeups.mended)

	managed.start(p.ctx)
	theirs.start(p.ctx)
	kubeOVN.Start(p.ctx)
	go router.Run(p.ctx)
	go waker.run(p.ctx, refresher.look)
	go refresher.run(p.ctx)
	go wakeups.patrol(p.ctx, kubeOVN.Synced)
	go sweep(p.ctx, p.balancer, p.services.Informer().HasSynced, p.nodes.Informer().HasSynced, kubeOVN.Synced)
}

// LoadBalancer returns the load balancer; there is one from SetInformers on.
func (p *Provider) LoadBalancer() (cloudprovider.LoadBalancer, bool) {
	return p.balancer, p.balancer != nil
}

// Instances is not supported: nodes are none of our business.
func (p *Provider) Instances() (cloudprovider.Instances, bool) { return nil, false }

// InstancesV2 is not supported.
func (p *Provider) InstancesV2() (cloudprovider.InstancesV2, bool) { return nil, false }

// Zones is not supported.
func (p *Provider) Zones() (cloudprovider.Zones, bool) { return nil, false }

// Clusters is not supported.
func (p *Provider) Clusters() (cloudprovider.Clusters, bool) { return nil, false }

// Routes is not supported: Kube-OVN routes between nodes by itself.
func (p *Provider) Routes() (cloudprovider.Routes, bool) { return nil, false }

// ProviderName returns Name.
func (p *Provider) ProviderName() string { return Name }

// HasClusterID is true: what we make in Kube-OVN is marked by Service UIDs and
// needs no further name of the cluster.
func (p *Provider) HasClusterID() bool { return true }
