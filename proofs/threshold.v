(** * Thresholds

    A gate with a threshold gives each logit the weight f(z_n − τ), where f never falls, is 0 up to 0 and
    at least 1 from 1 on, and where τ is such that the weights have a given sum. What holds for each such
    gate is proved here, once. *)

From Coq Require Import Lia.
From TensorMoE Require Import sums.

(** [x]₊: x where it is positive, otherwise 0. *)
Definition part (x : R) : R := Rmax x 0.

Section Threshold.

Variable f : R -> R.
Hypothesis f_rises : forall x y, x <= y -> f x <= f y.
Variable N : nat.

(** Two thresholds that give the same sum give the same weights: the equation determines the weights. *)
Lemma weights_are_unique z tau tau' :
  Σ n < N, f (z n - tau) = Σ n < N, f (z n - tau') -> ∀ n < N, f (z n - tau) = f (z n - tau').
Proof.
  intros E. destruct (Rle_dec tau tau') as [L | L].
  - intros n Hn. symmetry. revert n Hn. apply equal_terms; [intros; apply f_rises; lra | symmetry; exact E].
  - apply equal_terms; [intros; apply f_rises; lra | exact E].
Qed.

Section Existence.

Hypothesis f_continuous : continuity f.
Hypothesis f_low : forall x, x <= 0 -> f x = 0.
Hypothesis f_high : forall x, 1 <= x -> 1 <= f x.

Lemma sum_is_continuous z : continuity (fun tau => Σ n < N, f (z n - tau)).
Proof.
  induction N as [| M IH]; cbn; [apply continuity_const; intros ? ?; reflexivity |].
  apply (continuity_plus _ (fun tau => f (z M - tau))); [exact IH |].
  apply (continuity_comp (fun tau => z M - tau) f); [| exact f_continuous].
  apply continuity_minus; [apply continuity_const; intros ? ?;
    reflexivity | apply derivable_continuous, derivable_id].
Qed.

(** There is a threshold for each sum from 0 to N, by the intermediate value theorem. *)
Lemma threshold_exists z goal : 0 <= goal <= INR N -> exists tau, Σ n < N, f (z n - tau) = goal.
Proof.
  intros [Low High]. pose (bound := Σ n < N, Rabs (z n)).
  assert (B : ∀ n < N, - bound <= z n <= bound).
  { intros n Hn. pose proof (term_le_sum N (fun n => Rabs (z n)) n (fun m _ => Rabs_pos (z m)) Hn) as L.
    cbn in L. fold bound in L. pose proof (Rle_abs (z n)). pose proof (Rle_abs (- z n)).
    rewrite Rabs_Ropp in *. lra. }
  assert (Full : INR N <= Σ n < N, f (z n - (- bound - 1))).
  { rewrite <- (Rmult_1_r (INR N)), <- sum_const. apply sum_le. intros n Hn. apply f_high.
    pose proof (B n Hn). lra. }
  assert (Empty : Σ n < N, f (z n - bound) = 0).
  { apply sum_zeros. intros n Hn. apply f_low. pose proof (B n Hn). lra. }
  assert (0 <= bound) by (apply sum_nonneg; intros; apply Rabs_pos).
  destruct (IVT_cor (fun tau => (Σ n < N, f (z n - tau)) - goal) (- bound - 1) bound) as [tau [_ E]].
  - apply (continuity_minus (fun tau => Σ n < N, f (z n - tau)) (fun _ => goal)); [apply sum_is_continuous |].
    apply continuity_const. intros ? ?. reflexivity.
  - lra.
  - rewrite Empty. cbn beta. nra.
  - exists tau. lra.
Qed.

End Existence.

Hypothesis f_nonneg : forall x, 0 <= f x.
Hypothesis f_strict : forall x y, x < y -> 0 < f y -> f x < f y.

(** Logits that rise by no more than D raise the threshold by no more than D. *)
Lemma threshold_moves_little z z' tau tau' D :
  0 < Σ n < N, f (z n - tau) -> Σ n < N, f (z n - tau) = Σ n < N, f (z' n - tau') ->
  (∀ n < N, z' n <= z n + D) -> tau' <= tau + D.
Proof.
  intros P E L. apply Rnot_lt_le. intros Far.
  assert (Same : ∀ n < N, f (z' n - tau') = f (z n - tau)).
  { apply equal_terms; [intros n Hn; apply f_rises; pose proof (L n Hn); lra | symmetry; exact E]. }
  rewrite sum_zeros in P; [lra |]. intros n Hn. pose proof (f_nonneg (z n - tau)).
  destruct (Req_dec (f (z n - tau)) 0) as [| Z]; [assumption |].
  assert (f (z' n - tau') < f (z n - tau)) by (apply f_strict; pose proof (L n Hn); lra).
  pose proof (Same n Hn). lra.
Qed.

(** Where f is strictly increasing beyond 0, the threshold itself is unique. *)
Lemma threshold_is_unique z tau tau' :
  0 < Σ n < N, f (z n - tau) -> Σ n < N, f (z n - tau) = Σ n < N, f (z n - tau') -> tau = tau'.
Proof.
  intros P E. apply Rle_antisym.
  - rewrite <- (Rplus_0_r tau').
    apply (threshold_moves_little z z); [rewrite <- E; exact P | symmetry; exact E | intros; lra].
  - rewrite <- (Rplus_0_r tau). apply (threshold_moves_little z z); [exact P | exact E | intros; lra].
Qed.

End Threshold.

(** ** What the positive part satisfies *)

Lemma part_nonneg x : 0 <= part x.
Proof. apply Rmax_r. Qed.

Lemma part_low x : x <= 0 -> part x = 0.
Proof. apply Rmax_right. Qed.

Lemma part_high x : 0 <= x -> part x = x.
Proof. apply Rmax_left. Qed.

Lemma part_rises x y : x <= y -> part x <= part y.
Proof. intros L. unfold part. apply Rmax_lub; [pose proof (Rmax_l y 0); lra | apply Rmax_r]. Qed.

Lemma part_strict x y : x < y -> 0 < part y -> part x < part y.
Proof. unfold part, Rmax. destruct (Rle_dec x 0), (Rle_dec y 0); lra. Qed.

Lemma part_positive x : 0 < part x -> part x = x /\ 0 < x.
Proof. unfold part, Rmax. destruct (Rle_dec x 0); lra. Qed.

Lemma part_continuous : continuity part.
Proof.
  intros x eps Heps. exists eps. split; [exact Heps |]. cbn. unfold R_dist. intros y [_ D].
  apply Rle_lt_trans with (2 := D). unfold part, Rmax.
  destruct (Rle_dec y 0), (Rle_dec x 0); unfold Rabs; repeat destruct (Rcase_abs _); lra.
Qed.
