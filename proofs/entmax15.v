(** * 1.5-entmax

    The weights are [z_n/2 − τ]₊², with the τ for which they sum to 1. *)

From Coq Require Import Lia.
From TensorMoE Require Import sums jacobian threshold.

(** ** Squares of the positive part *)

Lemma square_rises x y : x <= y -> (part x)² <= (part y)².
Proof. intros L. apply Rsqr_incr_1; auto using part_rises, part_nonneg. Qed.

Lemma square_strict x y : x < y -> 0 < (part y)² -> (part x)² < (part y)².
Proof.
  intros L P. apply Rsqr_incrst_1; auto using part_nonneg. apply part_strict; [exact L |].
  destruct (Rle_lt_or_eq_dec _ _ (part_nonneg y)) as [| Z]; [assumption |]. rewrite <- Z, Rsqr_0 in P. lra.
Qed.

Lemma square_low x : x <= 0 -> (part x)² = 0.
Proof. intros L. rewrite part_low by exact L. apply Rsqr_0. Qed.

Lemma square_high x : 1 <= x -> 1 <= (part x)².
Proof. intros L. rewrite part_high by lra. unfold Rsqr. nra. Qed.

Lemma square_continuous : continuity (fun x => (part x)²).
Proof. exact (continuity_mult _ _ part_continuous part_continuous). Qed.

(** The slope is 2 [x]₊ everywhere, at 0 too. *)
Lemma square_slope x h : Rabs ((part (x + h))² - (part x)² - 2 * part x * h) <= h².
Proof.
  apply Rabs_le. unfold part, Rmax, Rsqr. destruct (Rle_dec (x + h) 0), (Rle_dec x 0); split; nra.
Qed.

Section Entmax15.

Variable N : nat.

(** p is the 1.5-entmax of the logits z: the equation that the library solves for τ. *)
Definition is_entmax15 (z p : nat -> R) : Prop :=
  exists tau, (∀ n < N, p n = (part (z n / 2 - tau))²) /\ sum N p = 1.

(** No weight is negative. *)
Theorem entmax15_nonnegative z p : is_entmax15 z p -> ∀ n < N, 0 <= p n.
Proof. intros [tau [W _]] n Hn. rewrite W by exact Hn. apply Rle_0_sqr. Qed.

(** The weights sum to 1. *)
Theorem entmax15_sums_to_one z p : is_entmax15 z p -> Σ n < N, p n = 1.
Proof. intros [_ [_ E]]. exact E. Qed.

(** So no weight is larger than 1. *)
Theorem entmax15_at_most_one z p : is_entmax15 z p -> ∀ n < N, p n <= 1.
Proof.
  intros S n Hn. rewrite <- (entmax15_sums_to_one z p S).
  exact (term_le_sum N p n (entmax15_nonnegative z p S) Hn).
Qed.

(** All logits have a 1.5-entmax, if there is at least one. *)
Theorem entmax15_exists z : (0 < N)%nat -> exists p, is_entmax15 z p.
Proof.
  intros Pos. pose proof (le_INR 1 N Pos) as One.
  destruct (threshold_exists _ N square_continuous square_low square_high (fun n => z n / 2) 1) as [tau E].
  - cbn in *. lra.
  - exists (fun n => (part (z n / 2 - tau))²), tau. split; [reflexivity | exact E].
Qed.

(** They have only one: the equation determines the weights. *)
Theorem entmax15_unique z p q : is_entmax15 z p -> is_entmax15 z q -> ∀ n < N, p n = q n.
Proof.
  intros [tau [Wp Ep]] [tau' [Wq Eq]] n Hn. rewrite Wp, Wq by exact Hn. revert n Hn.
  apply (weights_are_unique (fun x => (part x)²) square_rises N (fun n => z n / 2)).
  exact (same_sum N p q _ _ _ Wp Ep Wq Eq).
Qed.

(** The equation determines τ, too. *)
Theorem entmax15_threshold_unique z tau tau' :
  Σ n < N, (part (z n / 2 - tau))² = 1 -> Σ n < N, (part (z n / 2 - tau'))² = 1 -> tau = tau'.
Proof.
  intros E E'. apply (threshold_is_unique _ square_rises N (fun x => Rle_0_sqr _) square_strict (fun n => z n
    / 2)); lra.
Qed.

(** One number added to all logits changes nothing. *)
Theorem entmax15_shift z p c : is_entmax15 z p -> is_entmax15 (fun n => z n + c) p.
Proof.
  intros [tau [W E]]. exists (tau + c / 2). split; [| exact E].
  intros n Hn. rewrite W by exact Hn. do 2 f_equal. field.
Qed.

(** ** The Jacobian *)

(** The slopes in the library's Jacobian are √p. *)
Definition root (p : nat -> R) (n : nat) : R := sqrt (p n).

Theorem entmax15_jacobian_symmetric p n m : jacobian N (root p) n m = jacobian N (root p) m n.
Proof. apply jacobian_symmetric. Qed.

Theorem entmax15_jacobian_rows_sum_to_zero p : ∀ n < N, Σ m < N, jacobian N (root p) n m = 0.
Proof. apply jacobian_rows_sum_to_zero. intros. apply sqrt_pos. Qed.

(** Logits that change by no more than D change the threshold by no more than D/2. *)
Lemma entmax15_threshold_moves_little z d D tau tau' :
  (∀ n < N, Rabs (d n) <= D) ->
  Σ n < N, (part (z n / 2 - tau))² = 1 -> Σ n < N, (part ((z n + d n) / 2 - tau'))² = 1 ->
    Rabs (tau' - tau) <= D / 2.
Proof.
  intros B E E'.
  pose proof (threshold_moves_little _ square_rises N (fun x => Rle_0_sqr _) square_strict) as Moves.
  assert (Bound : ∀ n < N, - D <= d n <= D).
  { intros n Hn. pose proof (B n Hn). pose proof (Rle_abs (d n)). pose proof (Rle_abs (- d n)).
    rewrite Rabs_Ropp in *. lra. }
  pose proof (Moves (fun n => z n / 2) (fun n => (z n + d n) / 2) tau tau' (D / 2)) as Forth.
  pose proof (Moves (fun n => (z n + d n) / 2) (fun n => z n / 2) tau' tau (D / 2)) as Back.
  cbn beta in *. rewrite E, E' in *.
  apply Rabs_le. split; [apply Ropp_le_cancel; rewrite Ropp_involutive |].
  - assert (tau <= tau' + D / 2); [| lra]. apply Back; [lra | reflexivity |]. intros n Hn.
    pose proof (Bound n Hn). lra.
  - assert (tau' <= tau + D / 2); [| lra]. apply Forth; [lra | reflexivity |]. intros n Hn.
    pose proof (Bound n Hn). lra.
Qed.

(** The formula is the derivative, at all logits: where none changes by more than D, the weights change by J d
    up to (N + 1) D², which vanishes faster than D. *)
Theorem entmax15_derivative z d p q D :
  is_entmax15 z p -> is_entmax15 (fun n => z n + d n) q -> (∀ n < N, Rabs (d n) <= D) ->
  ∀ n < N, Rabs (q n - p n - centre N (root p) d n) <= (INR N + 1) * D².
Proof.
  intros S S' B.
  pose proof (entmax15_nonnegative z p S) as Pos. pose proof (entmax15_at_most_one z p S) as One.
  destruct S as [tau [Wp Ep]], S' as [tau' [Wq Eq]].
  assert (Near : Rabs (tau' - tau) <= D / 2).
  { apply (entmax15_threshold_moves_little z d D); [exact B | |].
    - exact (eq_trans (eq_sym (sum_ext N _ _ Wp)) Ep).
    - exact (eq_trans (eq_sym (sum_ext N _ _ Wq)) Eq). }
  pose (h n := d n / 2 - (tau' - tau)).
  pose (rest n := q n - p n - 2 * root p n * h n).
  assert (Root : ∀ n < N, root p n = part (z n / 2 - tau)).
  { intros n Hn. unfold root. rewrite Wp by exact Hn. apply sqrt_Rsqr, part_nonneg. }
  assert (Rest : ∀ n < N, Rabs (rest n) <= D²).
  { intros n Hn. unfold rest. rewrite (Root n Hn), (Wp n Hn), (Wq n Hn).
    replace ((z n + d n) / 2 - tau') with (z n / 2 - tau + h n) by (unfold h; field).
    apply Rle_trans with (1 := square_slope _ _). apply Rsqr_le_abs_1.
    pose proof (B n Hn). unfold h, Rabs in *. repeat destruct (Rcase_abs _); lra. }
  (* Σ √p ≥ Σ p = 1. *)
  assert (Roots : 1 <= sum N (root p)).
  { rewrite <- Ep. apply sum_le. intros n Hn. unfold root.
    rewrite <- (sqrt_def (p n)) at 1 by exact (Pos n Hn).
    pose proof (sqrt_pos (p n)). pose proof (sqrt_le_1_alt _ _ (One n Hn)) as L. rewrite sqrt_1 in L. nra. }
  assert (Total : sum N rest = - 2 * ((Σ n < N, root p n * d n) / 2 - (tau' - tau) * sum N (root p))).
  { transitivity ((Σ n < N, (q n - p n)) - 2 * ((Σ n < N, root p n * d n / 2) - Σ n < N, (tau' - tau) * root
      p n)).
    - rewrite <- sum_sub, <- sum_scale, <- sum_sub. apply sum_ext. intros n Hn. unfold rest, h. field.
    - rewrite sum_sub, Ep, Eq, sum_divide, sum_scale. lra. }
  assert (Small : Rabs (sum N rest / sum N (root p)) <= INR N * D²).
  { unfold Rdiv. rewrite Rabs_mult, (Rabs_pos_eq (/ _)) by (left; apply Rinv_0_lt_compat; lra).
    rewrite <- (Rmult_1_r (INR N * D²)).
    apply Rmult_le_compat; [apply Rabs_pos | left; apply Rinv_0_lt_compat; lra | |].
    - apply Rle_trans with (1 := sum_abs N rest). rewrite <- sum_const. apply sum_le, Rest.
    - rewrite <- Rinv_1. apply Rinv_le_contravar; lra. }
  intros n Hn.
  replace (q n - p n - centre N (root p) d n) with (rest n - root p n * (sum N rest / sum N (root p))).
  2: { rewrite Total. unfold centre, rest, h. rewrite total_is by lra. field. lra. }
  apply Rle_trans with (1 := Rabs_triang _ _). rewrite Rabs_Ropp, Rabs_mult.
  pose proof (Rest n Hn). pose proof (sqrt_pos (p n)). pose proof (sqrt_le_1_alt _ _ (One n Hn)) as L.
  rewrite sqrt_1 in L. unfold root at 1. rewrite (Rabs_pos_eq (sqrt (p n))) by assumption.
  pose proof (Rabs_pos (sum N rest / sum N (root p))). nra.
Qed.

End Entmax15.
