package loadbalancer

import (
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	applyapps "k8s.io/client-go/applyconfigurations/apps/v1"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	applymeta "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// Where the gateway finds its files; cmd/lb-gateway has the same as defaults.
const (
	documentDir = "/etc/lb-gateway"
	podInfoDir  = "/etc/pod-info"
	podInfoHash = "document-hash"
	runDir      = "/run"
	agent       = "/usr/bin/lb-gateway"
)

// deployment renders the gateway's Deployment. Everything that may change
// while the gateway serves stands in the ConfigMap; what stands here makes a
// new Pod when it changes.
func (g *gateway) deployment() *applyapps.DeploymentApplyConfiguration {
	content := applyapps.DeploymentSpec()
	if g.paused {
		content.WithPaused(true)
	}
	return applyapps.Deployment(g.name(), g.owner.Namespace).
		WithLabels(g.labels()).
		WithOwnerReferences(g.ownerReference()).
		WithSpec(content.
			WithReplicas(1).
			WithRevisionHistoryLimit(1).
			// One Pod at a time has the address. Recreate would wait for
			// ever for the end of a Pod on a node that is gone.
			WithStrategy(applyapps.DeploymentStrategy().
				WithType(appsv1.RollingUpdateDeploymentStrategyType).
				WithRollingUpdate(applyapps.RollingUpdateDeployment().
					WithMaxSurge(intstr.FromInt32(0)).
					WithMaxUnavailable(intstr.FromInt32(1)))).
			WithSelector(applymeta.LabelSelector().
				WithMatchLabels(map[string]string{kubeovn.LabelServiceUID: string(g.owner.UID)})).
			WithTemplate(g.podTemplate()))
}

func (g *gateway) podTemplate() *applycore.PodTemplateSpecApplyConfiguration {
	pod := applycore.PodSpec().
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithTerminationGracePeriodSeconds(5).
		WithSecurityContext(applycore.PodSecurityContext().
			WithSeccompProfile(applycore.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithAffinity(awayFromExcludedNodes()).
		WithTolerations(g.tolerations()...).
		WithContainers(g.container()).
		WithVolumes(g.volumes()...)
	if len(g.config.NodeSelector) > 0 {
		pod.WithNodeSelector(g.config.NodeSelector)
	}
	if g.config.PriorityClassName != "" {
		pod.WithPriorityClassName(g.config.PriorityClassName)
	}
	return applycore.PodTemplateSpec().
		WithLabels(g.labels()).
		WithAnnotations(g.podAnnotations()).
		WithSpec(pod)
}

// podAnnotations are what the guide shows on a gateway Pod. Kube-OVN does not
// act on those of the attachment, because the Pod is not attached to it but to
// the NetworkAttachmentDefinition that is derived from it; "allocated" keeps
// every version from taking an address anyway.
func (g *gateway) podAnnotations() map[string]string {
	annotations := map[string]string{
		kubeovn.Networks:      g.owner.Namespace + "/" + g.name(),
		AnnotationNetworkHash: spec.Hash([]byte(g.network.Bare)),
	}
	maps.Copy(annotations, map[string]string{
		g.key(kubeovn.FieldAllocated):     "true",
		g.key(kubeovn.FieldIPAddress):     g.held.String(),
		g.key(kubeovn.FieldCIDR):          g.ranges,
		g.key(kubeovn.FieldGateway):       g.routers,
		g.key(kubeovn.FieldLogicalSwitch): g.subnet,
		g.key(kubeovn.FieldPodNICType):    "veth-pair",
	})
	if g.mac != "" {
		annotations[g.key(kubeovn.FieldMACAddress)] = g.mac
	}
	if g.placement.subnet != "" {
		annotations[kubeovn.LogicalSwitch] = g.placement.subnet
	}
	return annotations
}

func (g *gateway) key(field string) string { return kubeovn.AnnotationKey(g.provider, field) }

func (g *gateway) container() *applycore.ContainerApplyConfiguration {
	// In a VPC of its own the Pod cannot be reached by the kubelet, so the
	// probes are executed inside.
	probe := func(period, timeout, failures int32, command ...string) *applycore.ProbeApplyConfiguration {
		return applycore.Probe().
			WithExec(applycore.ExecAction().WithCommand(append([]string{agent}, command...)...)).
			WithPeriodSeconds(period).WithTimeoutSeconds(timeout).WithFailureThreshold(failures)
	}
	resources := applycore.ResourceRequirements()
	if r := g.config.Resources; r != nil {
		if r.Requests != nil {
			resources.WithRequests(r.Requests)
		}
		if r.Limits != nil {
			resources.WithLimits(r.Limits)
		}
	}
	return applycore.Container().
		WithName(AppName).
		WithImage(g.config.Image).
		WithImagePullPolicy(g.config.ImagePullPolicy).
		WithTerminationMessagePolicy(corev1.TerminationMessageFallbackToLogsOnError).
		WithResources(resources).
		// The startup probe waits inside of the Pod: it succeeds the moment the
		// gateway serves, and a start that goes well has no failed probe.
		WithStartupProbe(probe(1, 12, 6, "ready", "--wait=10s")).
		// So does the readiness probe: a new document takes the agent a moment,
		// and a busy kubelet some more to bring it.
		WithReadinessProbe(probe(5, 15, 3, "ready", "--wait=3s", "--wait-document=10s")).
		WithSecurityContext(applycore.SecurityContext().
			WithRunAsUser(0).
			WithReadOnlyRootFilesystem(true).
			WithAllowPrivilegeEscalation(false).
			WithCapabilities(applycore.Capabilities().WithDrop("ALL").WithAdd("NET_ADMIN", "NET_RAW"))).
		WithVolumeMounts(
			applycore.VolumeMount().WithName("document").WithMountPath(documentDir).WithReadOnly(true),
			applycore.VolumeMount().WithName("pod-info").WithMountPath(podInfoDir).WithReadOnly(true),
			applycore.VolumeMount().WithName("run").WithMountPath(runDir))
}

func (g *gateway) volumes() []*applycore.VolumeApplyConfiguration {
	return []*applycore.VolumeApplyConfiguration{
		applycore.Volume().WithName("document").WithConfigMap(applycore.ConfigMapVolumeSource().WithName(g.name())),
		applycore.Volume().WithName("pod-info").WithDownwardAPI(applycore.DownwardAPIVolumeSource().WithItems(
			applycore.DownwardAPIVolumeFile().WithPath(podInfoHash).WithFieldRef(
				applycore.ObjectFieldSelector().WithFieldPath("metadata.annotations['" + AnnotationDocumentHash + "']")))),
		applycore.Volume().WithName("run").WithEmptyDir(applycore.EmptyDirVolumeSource().
			WithMedium(corev1.StorageMediumMemory).WithSizeLimit(resource.MustParse("8Mi"))),
	}
}

// tolerations make a gateway leave a node that is lost after seconds instead
// of five minutes, and add those of the configuration.
func (g *gateway) tolerations() []*applycore.TolerationApplyConfiguration {
	var out []*applycore.TolerationApplyConfiguration
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		out = append(out, applycore.Toleration().WithKey(key).
			WithOperator(corev1.TolerationOpExists).WithEffect(corev1.TaintEffectNoExecute).WithTolerationSeconds(5))
	}
	for _, t := range g.config.Tolerations {
		a := applycore.Toleration()
		if t.Key != "" {
			a.WithKey(t.Key)
		}
		if t.Operator != "" {
			a.WithOperator(t.Operator)
		}
		if t.Value != "" {
			a.WithValue(t.Value)
		}
		if t.Effect != "" {
			a.WithEffect(t.Effect)
		}
		if t.TolerationSeconds != nil {
			a.WithTolerationSeconds(*t.TolerationSeconds)
		}
		out = append(out, a)
	}
	return out
}

// awayFromExcludedNodes prefers nodes that do not ask to be left out of load
// balancing. It is a preference only: kubeadm labels control-plane nodes so,
// and a cluster may have no others.
func awayFromExcludedNodes() *applycore.AffinityApplyConfiguration {
	return applycore.Affinity().WithNodeAffinity(applycore.NodeAffinity().
		WithPreferredDuringSchedulingIgnoredDuringExecution(applycore.PreferredSchedulingTerm().
			WithWeight(100).
			WithPreference(applycore.NodeSelectorTerm().WithMatchExpressions(applycore.NodeSelectorRequirement().
				WithKey(LabelExcludeNode).WithOperator(corev1.NodeSelectorOpDoesNotExist)))))
}
