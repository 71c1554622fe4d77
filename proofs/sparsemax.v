(** * Sparsemax

    The weights are [z_n − τ]₊, with the τ for which they sum to 1. *)

From Coq Require Import Lia.
From TensorMoE Require Import sums jacobian threshold.

Section Sparsemax.

Variable N : nat.

(** p is the sparsemax of the logits z: the equation that the library solves for τ. *)
Definition is_sparsemax (z p : nat -> R) : Prop :=
  exists tau, (∀ n < N, p n = part (z n - tau)) /\ sum N p = 1.

(** No weight is negative. *)
Theorem sparsemax_nonnegative z p : is_sparsemax z p -> ∀ n < N, 0 <= p n.
Proof. intros [tau [W _]] n Hn. rewrite W by exact Hn. apply part_nonneg. Qed.

(** The weights sum to 1. *)
Theorem sparsemax_sums_to_one z p : is_sparsemax z p -> Σ n < N, p n = 1.
Proof. intros [_ [_ E]]. exact E. Qed.

(** So no weight is larger than 1. *)
Theorem sparsemax_at_most_one z p : is_sparsemax z p -> ∀ n < N, p n <= 1.
Proof.
  intros S n Hn. rewrite <- (sparsemax_sums_to_one z p S).
  exact (term_le_sum N p n (sparsemax_nonnegative z p S) Hn).
Qed.

(** All logits have a sparsemax, if there is at least one. *)
Theorem sparsemax_exists z : (0 < N)%nat -> exists p, is_sparsemax z p.
Proof.
  intros Pos. destruct (threshold_exists part N part_continuous part_low) with (z := z) (goal :=
    1) as [tau E].
  - intros x H. rewrite part_high; lra.
  - pose proof (le_INR 1 N Pos). cbn in *. lra.
  - exists (fun n => part (z n - tau)), tau. split; [reflexivity | exact E].
Qed.

(** They have only one: the equation determines the weights. *)
Theorem sparsemax_unique z p q : is_sparsemax z p -> is_sparsemax z q -> ∀ n < N, p n = q n.
Proof.
  intros [tau [Wp Ep]] [tau' [Wq Eq]] n Hn. rewrite Wp, Wq by exact Hn. revert n Hn.
  apply (weights_are_unique part part_rises). exact (same_sum N p q _ _ _ Wp Ep Wq Eq).
Qed.

(** The equation determines τ, too. *)
Theorem sparsemax_threshold_unique z tau tau' :
  Σ n < N, part (z n - tau) = 1 -> Σ n < N, part (z n - tau') = 1 -> tau = tau'.
Proof.
  intros E E'. apply (threshold_is_unique part part_rises N part_nonneg part_strict z); lra.
Qed.

(** One number added to all logits changes nothing. *)
Theorem sparsemax_shift z p c : is_sparsemax z p -> is_sparsemax (fun n => z n + c) p.
Proof.
  intros [tau [W E]]. exists (tau + c). split; [| exact E].
  intros n Hn. rewrite W by exact Hn. f_equal. ring.
Qed.

(** Of all vectors q that are not negative and sum to 1, p is the nearest to z. *)
Theorem sparsemax_is_nearest z p q :
  is_sparsemax z p -> (∀ n < N, 0 <= q n) -> Σ n < N, q n = 1 ->
  Σ n < N, (z n - p n)² <= Σ n < N, (z n - q n)².
Proof.
  intros [tau [W E]] Q Eq. change (sum N q = 1) in Eq.
  assert (H : Σ n < N, (z n - p n)² <= Σ n < N, ((z n - q n)² + 2 * tau * (q n - p n))).
  { apply sum_le. intros n Hn. rewrite W by exact Hn. pose proof (Q n Hn).
    pose proof (Rle_0_sqr (z n - q n - tau)). pose proof (Rle_0_sqr (q n)).
    unfold part, Rmax, Rsqr in *. destruct (Rle_dec (z n - tau) 0); nra. }
  rewrite sum_add, sum_scale, sum_sub, E, Eq in H. lra.
Qed.

(** ** The Jacobian *)

(** The slopes in the library's Jacobian: 1 for a positive weight, otherwise 0. In Python: [sign(p)]. *)
Definition slope (p : nat -> R) (n : nat) : R := if Rlt_dec 0 (p n) then 1 else 0.

Lemma slope_nonneg p n : 0 <= slope p n.
Proof. unfold slope. destruct (Rlt_dec 0 (p n)); lra. Qed.

(** Some weight is positive. *)
Lemma slopes_sum z p : is_sparsemax z p -> sum N (slope p) <> 0.
Proof.
  intros S Z. pose proof (sparsemax_sums_to_one z p S) as E.
  rewrite sum_zeros in E; [lra |]. intros n Hn. pose proof (sparsemax_nonnegative z p S n Hn).
  pose proof (term_le_sum N (slope p) n (fun m _ => slope_nonneg p m) Hn) as L.
  unfold slope at 1 in L. destruct (Rlt_dec 0 (p n)); lra.
Qed.

Theorem sparsemax_jacobian_symmetric p n m : jacobian N (slope p) n m = jacobian N (slope p) m n.
Proof. apply jacobian_symmetric. Qed.

Theorem sparsemax_jacobian_rows_sum_to_zero p : ∀ n < N, Σ m < N, jacobian N (slope p) n m = 0.
Proof. apply jacobian_rows_sum_to_zero. intros. apply slope_nonneg. Qed.

(** The formula is the derivative: as long as the same weights are positive, a change d of the logits, small
    or large, changes the weights by J d, exactly. *)
Theorem sparsemax_derivative z d p q :
  is_sparsemax z p -> is_sparsemax (fun n => z n + d n) q -> (∀ n < N, 0 < p n <-> 0 < q n) ->
  ∀ n < N, q n - p n = centre N (slope p) d n.
Proof.
  intros S S' Same. pose proof (slopes_sum z p S) as Z.
  destruct S as [tau [Wp Ep]], S' as [tau' [Wq Eq]].
  apply (centre_is_the_change N (slope p) d (fun n => q n - p n) (tau' - tau) Z).
  - intros n Hn. pose proof (Same n Hn) as [Pq Qp]. rewrite (Wp n Hn), (Wq n Hn) in *.
    unfold slope. rewrite (Wp n Hn). destruct (Rlt_dec 0 (part (z n - tau))) as [P | P].
    + rewrite (proj1 (part_positive _ P)), (proj1 (part_positive _ (Pq P))). ring.
    + pose proof (part_nonneg (z n - tau)). pose proof (part_nonneg (z n + d n - tau')).
      destruct (Req_dec (part (z n + d n - tau')) 0); lra.
  - rewrite sum_sub, Ep, Eq. ring.
Qed.

End Sparsemax.
