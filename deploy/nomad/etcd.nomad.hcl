# The registry: one member of etcd on each of the nodes that `members` names, over TLS. docs/nomad.md.
#
#   nomad job run -var 'members={"n1":"10.0.0.11","n2":"10.0.0.12","n3":"10.0.0.13"}' deploy/nomad/etcd.nomad.hcl

variable "image" {
  type    = string
  default = "localhost/appia-etcd:latest"
}

variable "members" {
  description = "Names of Nomad nodes with a member, each with its address; as given to `appia keys site --etcd`."
  type        = map(string)
  default     = { n1 = "10.0.0.11", n2 = "10.0.0.12", n3 = "10.0.0.13" }
}

job "appia-etcd" {
  type = "service"

  # One member at a time, and the next one when it is healthy: two of three always agree.
  update {
    max_parallel     = 1
    health_check     = "checks"
    min_healthy_time = "15s"
    healthy_deadline = "3m"
    auto_revert      = true
  }

  dynamic "group" {
    for_each = var.members
    labels   = ["etcd-${group.key}"]

    content {
      count = 1

      # A member is its data: it stays where they are.
      constraint {
        attribute = "${node.unique.name}"
        value     = group.key
      }

      network {
        mode = "host"
        port "client" {
          static = 2379
        }
        port "peer" {
          static = 2380
        }
        port "health" {
          static = 2381
        }
      }

      volume "data" {
        type   = "host"
        source = "appia-etcd"
      }

      volume "keys" {
        type      = "host"
        source    = "appia-keys-etcd"
        read_only = true
      }

      restart {
        attempts = 10
        interval = "10m"
        delay    = "5s"
        mode     = "delay"
      }

      task "etcd" {
        driver       = "docker"
        user         = "10001:10001"
        kill_timeout = "30s"

        config {
          image           = var.image
          network_mode    = "host"
          command         = "etcd"
          readonly_rootfs = true
          cap_drop        = ["all"]
          security_opt    = ["no-new-privileges"]
          pids_limit      = 256
          args = [
            "--name=${group.key}",
            "--data-dir=/var/lib/etcd/data",
            "--auto-compaction-retention=1h",
            "--quota-backend-bytes=268435456",
            "--logger=zap",
            "--log-outputs=stderr",
            "--listen-client-urls=https://${group.value}:2379,https://127.0.0.1:2379",
            "--advertise-client-urls=https://${group.value}:2379",
            "--listen-peer-urls=https://${group.value}:2380",
            "--initial-advertise-peer-urls=https://${group.value}:2380",
            "--initial-cluster=${join(",", [for name, address in var.members : "${name}=https://${address}:2380"])}",
            "--listen-metrics-urls=http://127.0.0.1:2381",
            "--client-cert-auth",
            "--bcrypt-cost=4", # passwords are random: docs/runbooks/etcd.md
            "--trusted-ca-file=/etc/appia/keys/ca.pem",
            "--cert-file=/etc/appia/keys/server.pem",
            "--key-file=/etc/appia/keys/server-key.pem",
            "--peer-client-cert-auth",
            "--peer-trusted-ca-file=/etc/appia/keys/ca.pem",
            "--peer-cert-file=/etc/appia/keys/server.pem",
            "--peer-key-file=/etc/appia/keys/server-key.pem",
          ]
        }

        volume_mount {
          volume      = "data"
          destination = "/var/lib/etcd"
        }

        volume_mount {
          volume      = "keys"
          destination = "/etc/appia/keys"
          read_only   = true
        }

        resources {
          cpu        = 300
          memory     = 256
          memory_max = 512
        }

        service {
          name     = "appia-etcd"
          provider = "nomad"
          port     = "health"
          address  = "127.0.0.1"

          check {
            type     = "http"
            path     = "/health"
            interval = "10s"
            timeout  = "5s"
          }
        }
      }
    }
  }
}
